//! What a call costs this process in CPU, against a local server that answers at once: our own path to OpenAI-compatible
//! servers, and the client library's, side by side. Linux only (it reads a thread's CPU time from /proc).
//!
//! `cargo run --release -p sipdo-llm --example cost_per_call`

#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made has to end")]

use std::time::Instant;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use futures::future::join_all;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions};
use genai::resolver::{AuthData, Endpoint as Target};
use genai::{Client, ModelIden, ServiceTarget};
use sipdo_llm::{ChatModel, ChatRequest, Endpoint, EndpointClient, Message, Model, ModelSettings, Provider, Sampling};

const CALLS: usize = 20_000;
const IN_FLIGHT: usize = 32;

fn main() {
    let address = start_server();
    // One thread for all of the client, so that its CPU time is the thread's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let prompt = "Answer with the letter of the right option only. ".repeat(20);
    for round in ["warm-up", "measured"] {
        let own = runtime.block_on(measure(own_path(&address, &prompt)));
        let library = runtime.block_on(measure(library_path(&address, &prompt)));
        for (name, (cpu, wall)) in [("own path", own), ("genai 0.7.2", library)] {
            println!(
                "{round:8} {name:12} {cpu:6.1} µs CPU a call, {:6.0} calls a second",
                1e6 / wall
            );
        }
    }
}

/// CPU and wall time of one call, in microseconds.
async fn measure<F: Future<Output = ()>>(call: impl Fn() -> F) -> (f64, f64) {
    let (cpu, wall) = (thread_cpu_nanos(), Instant::now());
    let worker = async || {
        for _ in 0..CALLS / IN_FLIGHT {
            call().await;
        }
    };
    join_all((0..IN_FLIGHT).map(|_| worker())).await;
    let calls = (CALLS / IN_FLIGHT * IN_FLIGHT) as f64;
    (
        (thread_cpu_nanos() - cpu) as f64 / calls / 1e3,
        wall.elapsed().as_secs_f64() * 1e6 / calls,
    )
}

fn own_path(address: &str, prompt: &str) -> impl Fn() -> futures::future::BoxFuture<'static, ()> {
    let endpoint = Endpoint {
        base_url: Some(format!("http://{address}/v1")),
        ..Endpoint::new(Provider::Openai)
    };
    let client = EndpointClient::new("local", endpoint).unwrap();
    let model = Model::new(client, ModelSettings::new("local", "model-x")).unwrap();
    let prompt = prompt.to_owned();
    move || {
        let (model, prompt) = (model.clone(), prompt.clone());
        Box::pin(async move {
            let sampling = Sampling {
                temperature: Some(0.0),
                top_p: None,
                max_tokens: 256,
                seed: Some(1),
            };
            let request = ChatRequest::text(vec![Message::system(prompt), Message::user("2 + 2?")], sampling);
            assert!(model.complete(&request).await.result.is_ok());
        })
    }
}

fn library_path(address: &str, prompt: &str) -> impl Fn() -> futures::future::BoxFuture<'static, ()> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .gzip(false)
        .build()
        .unwrap();
    let client = Client::builder().with_reqwest(http).build().unwrap();
    let base = format!("http://{address}/v1/");
    let prompt = prompt.to_owned();
    move || {
        let (client, base, prompt) = (client.clone(), base.clone(), prompt.clone());
        Box::pin(async move {
            let target = ServiceTarget {
                endpoint: Target::from_owned(base),
                auth: AuthData::from_single("none"),
                model: ModelIden::new(AdapterKind::OpenAI, "model-x"),
            };
            let messages = vec![ChatMessage::system(prompt), ChatMessage::user("2 + 2?")];
            // The raw reply is asked for, because the answer's id and fingerprint are in it alone.
            let options = ChatOptions::default()
                .with_temperature(0.0)
                .with_max_tokens(256)
                .with_seed(1)
                .with_capture_raw_body(true);
            let request = genai::chat::ChatRequest::new(messages);
            assert!(client.exec_chat(target, request, Some(&options)).await.is_ok());
        })
    }
}

/// Answers every request at once, on threads of its own.
fn start_server() -> String {
    const REPLY: &str = r#"{"id":"a","object":"chat.completion","created":1,"model":"model-x","system_fingerprint":"f","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"The answer is (B)."}}],"usage":{"prompt_tokens":200,"completion_tokens":6,"total_tokens":206}}"#;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let app =
                Router::new().fallback(async |_: axum::body::Bytes| ([(CONTENT_TYPE, "application/json")], REPLY));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().to_string()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// CPU time of this thread so far, in nanoseconds.
fn thread_cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
