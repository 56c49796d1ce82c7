"""The JSON Schema of a run spec, with every key described: for editors, and for those who make specs by program."""

from typing import Any

from tensix_sim.arch import BOARDS
from tensix_sim.config import RunSpec
from tensix_sim.sdpa.op import OPS
from tensix_sim.text import SIZE

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FROM_FILES = ("q_heads", "kv_heads", "seq_len", "head_dim")  # which files of values give


def spec_schema() -> dict[str, Any]:
    """What `check` calls a well-formed spec: names, types and ranges; which values go together it does not say."""
    schema: dict[str, Any] = _written(RunSpec.model_json_schema())
    schema["properties"]["op"]["enum"] = list(OPS)
    schema["properties"]["board"]["enum"] = list(BOARDS)
    inputs = schema["$defs"]["Inputs"]
    files = {name: {"type": "string", "description": inputs["properties"][name]["description"]} for name in "qkv"}
    about = "Another way to write `q`, `k` and `v`."
    inputs["properties"]["files"] = {
        "type": "object", "properties": files, "required": list("qkv"), "additionalProperties": False, "description": about,
    }  # fmt: skip
    inputs["anyOf"] = [{"required": inputs.pop("required")}, {"required": ["files"]}, {"required": list("qkv")}]
    return {"$schema": DIALECT, "title": "A run spec of tensix_sim", **schema}


def _written(part: Any) -> Any:
    """The same as people may write it: whole numbers also as sizes, such as 32k; without pydantic's titles."""
    if isinstance(part, list):
        return [_written(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "integer":
        about = {key: value for key, value in part.items() if key in ("description", "default")}
        number = {key: value for key, value in part.items() if key not in about and key != "title"}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{SIZE.pattern}$"}], **about}
    return {key: _written(value) for key, value in part.items() if not (key == "title" and isinstance(value, str))}
