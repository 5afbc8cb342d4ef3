//! The files that `sipdo init` writes, as texts.

use super::Answers;

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The task file; `data` is the data file's name beside it.
pub fn task_file(answers: &Answers, data: &str) -> String {
    let judge = if answers.metric == "judge" {
        "criteria = \"the answer means the same as the target\"\n"
    } else {
        ""
    };
    format!(
        "# A task for `sipdo optimize`. Every key is described in docs/tasks.md; unknown keys are errors.\n\
         \n\
         [task]\n\
         name = {name}\n\
         description = {description}\n\
         # The prompt to start from. Put {{input}} where the input goes; without it the prompt is the system message.\n\
         prompt = {prompt}\n\
         # How an answer must look, as the other roles are told:\n\
         # answer_format = \"the last line is `Answer: <number>`\"\n\
         \n\
         [data]\n\
         file = {data}\n\
         {pointer}\
         # A column, or a template such as \"{{{{ question }}}}\\n{{{{ options }}}}\"\n\
         input = {input}\n\
         target = {target}\n\
         # Seed examples and held-out examples [default: 30, and what is left up to 150]\n\
         # train = 30\n\
         # test = 100\n\
         \n\
         [metric]\n\
         # exact, normalized, choice, numeric, token_f1, regex, json, contains, judge\n\
         kind = {metric}\n\
         {judge}\
         \n\
         [budget]\n\
         # Hard caps over all roles together; also: tokens, usd, seconds\n\
         calls = 3000\n\
         \n\
         [strategy]\n\
         name = \"sipdo\"\n\
         seed = 0\n\
         \n\
         # Models of this run, by the names of the operator's endpoints (see sipdo.toml):\n\
         # [models]\n\
         # learner = \"openai/gpt-5-nano\"\n",
        name = quoted(&answers.name),
        description = quoted(&answers.description),
        prompt = quoted(&answers.prompt),
        data = quoted(data),
        pointer = answers
            .pointer
            .as_ref()
            .map_or_else(String::new, |pointer| format!("pointer = {}\n", quoted(pointer))),
        input = quoted(&answers.input),
        target = quoted(&answers.target),
        metric = quoted(&answers.metric),
    )
}

/// What an operator's file holds, to be uncommented.
pub const OPERATOR_FILE: &str = "\
# Endpoints and models for sipdo on this machine. Everything is commented out: uncomment one endpoint and the models,
# or use `--simulated` to try sipdo without any. Do not write a key here: name the variable or file that holds it.

# [endpoints.openai]
# provider = \"openai\"
# api_key_env = \"OPENAI_API_KEY\"
# requests_per_minute = 500
# [endpoints.openai.prices.gpt-5-mini]      # US dollars per million tokens; without prices cost is unknown
# input_per_million = 0.25
# output_per_million = 2.00

# [endpoints.anthropic]
# provider = \"anthropic\"
# api_key_env = \"ANTHROPIC_API_KEY\"

# [endpoints.local]                         # vLLM, llama.cpp, LiteLLM, ... : any server with OpenAI's API
# provider = \"openai\"
# base_url = \"http://localhost:8000/v1\"

# [endpoints.ollama]
# provider = \"ollama\"

# [models.default]                          # for every role
# endpoint = \"openai\"
# model = \"gpt-5-mini\"

# [models.learner]                          # the model that the prompt is for
# model = \"gpt-5-nano\"

# [models.verifier]                         # different models make more independent votes
# endpoint = \"anthropic\"
# model = \"claude-haiku-4-5\"
";
