"""The run of a user's script: every op of ttnn that it called, on one time line for each device."""

from tensix_sim.script.run import LoggedTensor, ScriptOp, ScriptRun, ScriptWhatIf, Taken, is_script, read_script

__all__ = ["LoggedTensor", "ScriptOp", "ScriptRun", "ScriptWhatIf", "Taken", "is_script", "read_script"]
