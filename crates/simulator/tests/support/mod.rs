//! What the tests over HTTP share: a server, a client, and the requests that the agents send.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use serde_json::{Value, json};
use sipdo_simulator::{Running, Settings, spawn};

/// A server with a client.
pub struct Server {
    pub running: Running,
    pub client: reqwest::Client,
}

impl Server {
    pub async fn start(settings: Settings) -> Self {
        // A second installation fails; the first one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            running: spawn(settings).await.unwrap(),
            client: reqwest::Client::new(),
        }
    }

    pub async fn send(&self, body: &Value) -> reqwest::Result<reqwest::Response> {
        self.client
            .post(format!("{}/chat/completions", self.running.base_url()))
            .json(body)
            .send()
            .await
    }

    /// The whole reply.
    pub async fn reply(&self, body: &Value) -> Value {
        let response = self.send(body).await.unwrap();
        assert_eq!(response.status(), 200, "{body}");
        response.json().await.unwrap()
    }

    /// The content of the reply.
    pub async fn content(&self, body: &Value) -> String {
        self.reply(body).await["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The learner's answer.
    pub async fn answer(&self, prompt: &str, question: &str) -> String {
        self.content(&learner(prompt, question)).await
    }
}

pub fn learner(prompt: &str, question: &str) -> Value {
    json!({"model": "sim-weak", "temperature": 0.0, "messages": [
        {"role": "system", "content": prompt}, {"role": "user", "content": question}]})
}

pub fn structured(name: &str, properties: &[&str], sections: &[(&str, &str)], seed: u64) -> Value {
    let map: serde_json::Map<_, _> = properties
        .iter()
        .map(|property| {
            (
                (*property).to_owned(),
                json!({"type": if *property == "correct" { "boolean" } else { "string" }}),
            )
        })
        .collect();
    let schema = json!({"type": "object", "properties": map, "required": properties, "additionalProperties": false});
    json!({"model": "sim-teacher", "seed": seed, "messages": [
            {"role": "system", "content": "You carry out one role."}, {"role": "user", "content": fenced(sections)}],
        "response_format": {"type": "json_schema", "json_schema": {"name": name, "strict": true, "schema": schema}}})
}

pub fn fenced(sections: &[(&str, &str)]) -> String {
    let sections: Vec<String> = sections
        .iter()
        .map(|(title, text)| format!("## {title}\n<<<a1b2c3d4\n{text}\na1b2c3d4>>>\n"))
        .collect();
    sections.join("\n")
}
