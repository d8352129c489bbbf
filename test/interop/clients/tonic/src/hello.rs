//! The service, as tonic's generated code would call it.

use std::error::Error;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct HiRequest {
    #[prost(string, tag = "1")]
    to_who: String,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HiResponse {
    #[prost(string, tag = "1")]
    from_who: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(string, tag = "3")]
    pod: String,
}

#[derive(Clone)]
pub struct Hello {
    channel: Channel,
    message: String,
}

impl Hello {
    /// Returns a caller whose unary calls have a message of that many bytes.
    pub fn new(channel: Channel, bytes: usize) -> Self {
        Hello {
            channel,
            message: "x".repeat(bytes),
        }
    }

    fn request(&self, message: String) -> HiRequest {
        HiRequest {
            to_who: "you".into(),
            message,
        }
    }

    /// Returns a client that is ready for a call.
    async fn ready(&self) -> Result<Grpc<Channel>, String> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|err| format!("not ready: {}", chain(&err)))?;
        Ok(grpc)
    }

    pub async fn hi(self, deadline: Duration) -> Result<(), String> {
        let mut request = Request::new(self.request(self.message.clone()));
        request.set_timeout(deadline);
        let answer = self
            .ready()
            .await?
            .unary(request, method("Hi"), codec())
            .await
            .map_err(text)?;
        let message = answer.into_inner().message;
        if message != self.message {
            return Err(format!("answered {} bytes", message.len()));
        }
        Ok(())
    }

    pub async fn watch(self, want: usize) -> Result<(), String> {
        let request = Request::new(self.request(String::new()));
        let answer = self
            .ready()
            .await?
            .server_streaming(request, method("Watch"), codec())
            .await
            .map_err(text)?;
        let mut stream = answer.into_inner();
        for _ in 0..want {
            next(&mut stream).await?;
        }
        Ok(())
    }

    pub async fn chat(self, messages: usize, deadline: Duration) -> Result<(), String> {
        let (requests, queue) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(queue));
        request.set_timeout(deadline);
        // The answer's headers come with the first message, so that must be there first.
        let first = self.request("0".into());
        requests.send(first).await.map_err(|err| err.to_string())?;
        let answer = self
            .ready()
            .await?
            .streaming(request, method("Chat"), codec())
            .await
            .map_err(text)?;
        let mut stream = answer.into_inner();
        for i in 1..=messages {
            next(&mut stream).await?;
            if i < messages {
                let request = self.request(i.to_string());
                requests
                    .send(request)
                    .await
                    .map_err(|err| err.to_string())?;
            }
        }
        drop(requests);
        match stream.message().await.map_err(text)? {
            Some(_) => Err("no end".into()),
            None => Ok(()),
        }
    }
}

/// Waits for the next answer of a stream.
async fn next(stream: &mut Streaming<HiResponse>) -> Result<(), String> {
    match stream.message().await.map_err(text)? {
        Some(_) => Ok(()),
        None => Err("ended early".into()),
    }
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::from_maybe_shared(format!("/hello.v1.HelloService/{name}")).expect("a path")
}

fn codec() -> ProstCodec<HiRequest, HiResponse> {
    ProstCodec::default()
}

fn text(status: Status) -> String {
    format!("{:?} {}", status.code(), chain(&status))
}

/// Returns an error with its causes.
fn chain(err: &dyn Error) -> String {
    let mut out = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        out += &format!(": {err}");
        cause = err.source();
    }
    out
}
