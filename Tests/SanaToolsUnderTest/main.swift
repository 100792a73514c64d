import SanaTools
import SanaWorkbench

/// `sana-tools` as tests run it: the same commands, in children of one process where there are
/// thousands of them, and with modules that really are slower where something is to find them.
ForwardTimer.disturbance.withLock { $0 = Slowdown.around }
if ForkServer.isWanted { ForkServer.serve(Program.run) }
Program.run()
