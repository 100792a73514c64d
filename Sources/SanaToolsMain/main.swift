import SanaTools

Program.run()
