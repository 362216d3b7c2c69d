//! JSON-RPC over HTTP: requests, batches, authentication, status codes as bitcoind answers them.
//!
//! Knows nothing of the methods: it hands each call to a [`Dispatch`]. Used by the node, and by tests with a
//! stand-in. JSON-RPC 1.0 and 2.0 are told apart by the request's `jsonrpc` member: 1.0 (the default) answers
//! errors with HTTP 500, 404 or 400, 2.0 always with 200.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::auth::Auth;
use super::error::{RpcError, code};

/// Largest request body: a block of 4,000,000 weight units in hex with room for a batch, as bitcoind allows.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Connections at one time. Each idle one costs some 10 kB; a pool and a few tools need a dozen.
const CONNECTIONS_MAX: usize = 256;
/// Bodies in memory at one time: bounds what callers with the password can make us hold.
const BODIES_MAX: usize = 16;
/// A caller has this long to send its header and, again, its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a wrong password waits for its answer, to make guessing slow.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_millis(250);

/// Answers calls.
pub(crate) trait Dispatch: Send + Sync + 'static {
    /// Answers one call of `method` with `params` (array, object or null).
    fn call(&self, method: String, params: Value) -> impl Future<Output = Result<Value, RpcError>> + Send;
}

/// What one request object asks.
struct Call {
    /// `None`: the request had no `id` member.
    id: Option<Value>,
    version_2: bool,
    request: Result<(String, Value), RpcError>,
}

impl Call {
    fn parse(value: Value) -> Self {
        let invalid = |message: &str| RpcError::new(code::INVALID_REQUEST, message);
        let Value::Object(mut object) = value else {
            return Self { id: None, version_2: false, request: Err(invalid("Invalid Request object")) };
        };
        let id = object.remove("id");
        let version_2 = match object.get("jsonrpc") {
            None | Some(Value::Null) => false,
            Some(Value::String(version)) if version == "1.0" => false,
            Some(Value::String(version)) if version == "2.0" => true,
            Some(Value::String(_)) => {
                return Self {
                    id,
                    version_2: false,
                    request: Err(invalid("JSON-RPC version not supported")),
                };
            }
            Some(_) => {
                return Self {
                    id,
                    version_2: false,
                    request: Err(invalid("jsonrpc field must be a string")),
                };
            }
        };
        let method = match object.remove("method") {
            None | Some(Value::Null) => Err(invalid("Missing method")),
            Some(Value::String(method)) => Ok(method),
            Some(_) => Err(invalid("Method must be a string")),
        };
        let params = match object.remove("params") {
            None => Ok(Value::Null),
            Some(params @ (Value::Null | Value::Array(_) | Value::Object(_))) => Ok(params),
            Some(_) => Err(invalid("Params must be an array or object")),
        };
        let request = method.and_then(|method| params.map(|params| (method, params)));
        Self { id, version_2, request }
    }

    /// A notification is a 2.0 request without `id`: it is carried out and not answered.
    fn is_notification(&self) -> bool {
        self.version_2 && self.id.is_none()
    }
}

/// A reply of JSON-RPC 1.0: both members always there.
#[derive(Serialize)]
struct Reply1<'a> {
    result: &'a Value,
    error: Option<&'a RpcError>,
    id: &'a Value,
}

/// A reply of JSON-RPC 2.0: result or error.
#[derive(Serialize)]
struct Reply2<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
    id: &'a Value,
}

fn write_reply(out: &mut Vec<u8>, version_2: bool, id: Option<&Value>, outcome: &Result<Value, RpcError>) {
    let id = id.unwrap_or(&Value::Null);
    let (result, error) = match outcome {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    };
    let written = if version_2 {
        serde_json::to_writer(&mut *out, &Reply2 { jsonrpc: "2.0", result, error, id })
    } else {
        serde_json::to_writer(&mut *out, &Reply1 { result: result.unwrap_or(&Value::Null), error, id })
    };
    written.expect("JSON values with text keys always serialise, and a Vec takes every byte");
}

fn status_of(error: &RpcError) -> StatusCode {
    match error.code {
        code::INVALID_REQUEST => StatusCode::BAD_REQUEST,
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Carries out a request body; the HTTP status and the reply, if there is one.
pub(crate) async fn execute(dispatch: &impl Dispatch, body: &[u8]) -> (StatusCode, Option<Vec<u8>>) {
    let mut out = Vec::new();
    let refused = |error: RpcError| {
        let mut out = Vec::new();
        let status = status_of(&error);
        write_reply(&mut out, false, None, &Err(error));
        out.push(b'\n');
        (status, Some(out))
    };
    match serde_json::from_slice::<Value>(body) {
        Err(_) => refused(RpcError::new(code::PARSE_ERROR, "Parse error")),
        Ok(request @ Value::Object(_)) => {
            let call = Call::parse(request);
            let notification = call.is_notification();
            let Call { id, version_2, request } = call;
            let outcome = match request {
                Ok((method, params)) => dispatch.call(method, params).await,
                Err(error) => Err(error),
            };
            if notification {
                return (StatusCode::NO_CONTENT, None);
            }
            let status = match &outcome {
                Err(error) if !version_2 => status_of(error),
                _ => StatusCode::OK,
            };
            write_reply(&mut out, version_2, id.as_ref(), &outcome);
            out.push(b'\n');
            (status, Some(out))
        }
        Ok(Value::Array(requests)) => {
            let empty = requests.is_empty();
            out.push(b'[');
            for request in requests {
                let call = Call::parse(request);
                let notification = call.is_notification();
                let Call { id, version_2, request } = call;
                let outcome = match request {
                    Ok((method, params)) => dispatch.call(method, params).await,
                    Err(error) => Err(error),
                };
                if notification {
                    continue;
                }
                if out.len() > 1 {
                    out.push(b',');
                }
                write_reply(&mut out, version_2, id.as_ref(), &outcome);
            }
            if out.len() == 1 && !empty {
                return (StatusCode::NO_CONTENT, None);
            }
            out.extend_from_slice(b"]\n");
            (StatusCode::OK, Some(out))
        }
        Ok(_) => refused(RpcError::new(code::PARSE_ERROR, "Top-level object parse error")),
    }
}

/// What every connection needs.
struct Shared<D> {
    dispatch: D,
    auth: Auth,
    bodies: Semaphore,
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

async fn answer<D: Dispatch>(
    shared: &Shared<D>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "JSONRPC server handles only POST requests");
    }
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    if !authorization.as_deref().is_some_and(|header| shared.auth.allows(header)) {
        if authorization.is_some() {
            tracing::warn!(%peer, "RPC call with a wrong password");
            tokio::time::sleep(WRONG_PASSWORD_DELAY).await;
        }
        let mut response = plain(StatusCode::UNAUTHORIZED, "");
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, hyper::header::HeaderValue::from_static("Basic realm=\"jsonrpc\""));
        return response;
    }
    let body = {
        let Ok(_permit) = shared.bodies.try_acquire() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded");
        };
        let read = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large or cut short"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "Request body came too slowly"),
        }
    };
    let (status, reply) = execute(&shared.dispatch, &body).await;
    let mut response = Response::new(Full::new(Bytes::from(reply.unwrap_or_default())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Waits until `stop` turns true, or nobody is left to turn it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves `listener` until `stop` turns true, then lets calls under way finish (the caller bounds that wait by
/// dropping this future).
pub(crate) async fn serve<D: Dispatch>(
    listener: TcpListener,
    auth: Auth,
    dispatch: D,
    mut stop: watch::Receiver<bool>,
) {
    let shared = Arc::new(Shared { dispatch, auth, bodies: Semaphore::new(BODIES_MAX) });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait a little for some to come back.
                tracing::warn!(%error, "cannot accept an RPC connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(%peer, limit = CONNECTIONS_MAX, "RPC connection refused: too many are open");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        let mut stop = stop.clone();
        connections.spawn(async move {
            let _slot = slot;
            let service = hyper::service::service_fn(|request| {
                let shared = &shared;
                async move { Ok::<_, Infallible>(answer(shared, peer, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let outcome = tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = outcome {
                tracing::debug!(%peer, %error, "RPC connection ended");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Echo;

    impl Dispatch for Echo {
        async fn call(&self, method: String, params: Value) -> Result<Value, RpcError> {
            match method.as_str() {
                "echo" => Ok(params),
                "fail" => Err(RpcError::not_found("Block not found")),
                _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found")),
            }
        }
    }

    async fn run(body: &str) -> (u16, Value) {
        let (status, reply) = execute(&Echo, body.as_bytes()).await;
        let reply = reply.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        (status.as_u16(), reply)
    }

    #[tokio::test]
    async fn version_1_answers_both_members_and_http_errors() {
        assert_eq!(
            run(r#"{"method":"echo","params":[1],"id":"x"}"#).await,
            (200, json!({"result": [1], "error": null, "id": "x"}))
        );
        assert_eq!(
            run(r#"{"method":"fail","id":1}"#).await,
            (500, json!({"result": null, "error": {"code": -5, "message": "Block not found"}, "id": 1}))
        );
        assert_eq!(run(r#"{"method":"nothing","id":1}"#).await.0, 404);
        assert_eq!(run(r#"{"id":1}"#).await.0, 400);
        assert_eq!(run(r#"{"method":"echo","params":7}"#).await.0, 400);
    }

    #[tokio::test]
    async fn version_2_answers_one_member_and_http_200() {
        assert_eq!(
            run(r#"{"jsonrpc":"2.0","method":"echo","params":{"a":1},"id":7}"#).await,
            (200, json!({"jsonrpc": "2.0", "result": {"a": 1}, "id": 7}))
        );
        assert_eq!(
            run(r#"{"jsonrpc":"2.0","method":"fail","id":7}"#).await,
            (200, json!({"jsonrpc": "2.0", "error": {"code": -5, "message": "Block not found"}, "id": 7}))
        );
        assert_eq!(run(r#"{"jsonrpc":"2.0","method":"echo"}"#).await, (204, Value::Null));
        assert_eq!(run(r#"{"jsonrpc":"3.0","method":"echo"}"#).await.0, 400);
    }

    #[tokio::test]
    async fn batches_answer_each_call() {
        let (status, reply) =
            run(r#"[{"method":"echo","params":[1],"id":1},5,{"method":"no","id":2}]"#).await;
        assert_eq!(status, 200);
        assert_eq!(reply.as_array().unwrap().len(), 3);
        assert_eq!(reply[1]["error"]["code"], code::INVALID_REQUEST);
        assert_eq!(run("[]").await, (200, json!([])));
        assert_eq!(run(r#"[{"jsonrpc":"2.0","method":"echo"}]"#).await, (204, Value::Null));
    }

    proptest::proptest! {
        /// Bytes, or a request with something else in one place: an answer, never a panic.
        #[test]
        fn no_body_makes_it_panic(bytes: Vec<u8>, text: String, number: f64, place in 0usize..8) {
            let mut request = json!({"jsonrpc": "2.0", "method": "echo", "params": [], "id": 1});
            let member = ["jsonrpc", "method", "params", "id"][place % 4];
            request[member] = if place < 4 { json!(text) } else { json!(number) };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for body in [bytes, request.to_string().into_bytes(), json!([request]).to_string().into_bytes()] {
                let (status, reply) = runtime.block_on(execute(&Echo, &body));
                assert!(status == StatusCode::NO_CONTENT || serde_json::from_slice::<Value>(&reply.unwrap()).is_ok());
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_json_is_a_parse_error() {
        for body in ["", "{", "\u{0}", "\"text\"", "7", &"[".repeat(10_000)] {
            let (status, reply) = run(body).await;
            assert_eq!(status, 500, "{body}");
            assert_eq!(reply["error"]["code"], code::PARSE_ERROR);
        }
    }
}
