import ArgumentParser
import SanaTools

/// `sana-tools` as tests run it: the same commands, in children of one process where there are
/// thousands of them, and with modules that really are slower where something is to find them.
func perform(_ command: inout any ParsableCommand) throws {
    if let profile = command as? ProfileCommand {
        try profile.run(on: SlowNetwork.around)
    } else {
        try command.run()
    }
}

if ForkServer.isWanted { ForkServer.serve { Program.run($0, perform) } }
Program.run(nil, perform)
