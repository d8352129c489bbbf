//! The client for tonic: hello-tonic TARGETS POLICY SECONDS. See ../../README.md.

mod hello;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, error, io};

use tonic::transport::{Channel, Endpoint};

use hello::Hello;

const DEADLINE: Duration = Duration::from_secs(10);
const WATCH_WORKERS: usize = 2;
const WATCH_MESSAGES: usize = 3;
const CHAT_MESSAGES: usize = 10;

/// Counts the calls and errors of all workers.
#[derive(Default)]
struct Tally {
    calls: usize,
    failed: usize,
    errors: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, what: &str, result: Result<(), String>) {
        self.calls += 1;
        if let Err(text) = result {
            self.failed += 1;
            *self.errors.entry(format!("{what}: {text}")).or_default() += 1;
        }
    }
}

/// All workers, until they end.
struct Load {
    hello: Hello,
    tally: Arc<Mutex<Tally>>,
    end: Instant,
    tasks: tokio::task::JoinSet<()>,
}

impl Load {
    /// Starts a worker that makes one call after the other until the end, at least one.
    fn worker<F>(&mut self, what: &'static str, call: impl Fn(Hello) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (hello, tally, end) = (self.hello.clone(), self.tally.clone(), self.end);
        self.tasks.spawn(async move {
            loop {
                let result = call(hello.clone()).await;
                tally.lock().unwrap().add(what, result);
                if Instant::now() >= end {
                    return;
                }
            }
        });
    }
}

/// Returns a channel to all targets with tonic's balancer, or to the only one without.
fn dial(targets: &str, policy: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoints = targets
        .split(',')
        .map(|t| Endpoint::from_shared(format!("http://{t}")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(match policy {
        "pick_first" => endpoints[0].connect_lazy(),
        _ => Channel::balance_list(endpoints.into_iter()),
    })
}

fn from_env(name: &str, usual: usize) -> usize {
    env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(usual)
}

/// Returns tonic's version, which it does not tell at run time.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let after = lock
        .split("name = \"tonic\"\nversion = \"")
        .nth(1)
        .unwrap_or("?");
    after.split('"').next().unwrap_or("?")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    let args: Vec<String> = env::args().collect();
    let [_, targets, policy, seconds] = &args[..] else {
        return Err("usage: hello-tonic TARGETS POLICY SECONDS".into());
    };
    let seconds: usize = seconds.parse()?;
    let mut load = Load {
        hello: Hello::new(dial(targets, policy)?, from_env("HELLO_BYTES", 5)),
        tally: Arc::default(),
        end: Instant::now() + Duration::from_secs(seconds as u64),
        tasks: tokio::task::JoinSet::new(),
    };
    for _ in 0..from_env("HELLO_WORKERS", 8) {
        load.worker("hi", |h| h.hi(DEADLINE));
    }
    for _ in 0..WATCH_WORKERS {
        load.worker("watch", |h| h.watch(WATCH_MESSAGES));
    }
    load.worker("chat", |h| h.chat(CHAT_MESSAGES, DEADLINE));
    // At one message a second, this stream ends shortly after the other calls.
    load.worker("long watch", move |h| h.watch(seconds + 1));
    while let Some(ended) = load.tasks.join_next().await {
        ended?;
    }
    let tally = load.tally.lock().unwrap();
    println!(
        "{}",
        serde_json::json!({
            "client": "tonic", "version": version(),
            "calls": tally.calls, "failed": tally.failed, "errors": tally.errors,
        })
    );
    // The connections live on in the runtime's other threads until standard input ends.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
