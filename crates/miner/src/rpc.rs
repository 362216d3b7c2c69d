//! One JSON-RPC call to a node over plain HTTP. Used by [`crate::solo`].

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::NodeUrl;

/// Longest answer read, in bytes: a template of a full block is under 20 MB.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The connection failed.
    #[error("{url}: {error}")]
    Io { url: NodeUrl, error: std::io::Error },
    /// Nothing came in time.
    #[error("{url}: no answer to {method} in {seconds} s")]
    Late { url: NodeUrl, method: &'static str, seconds: u64 },
    /// User or password were refused.
    #[error("{url} wants another user and password: give them in the URL, or its cookie with --rpc-cookie")]
    Unauthorized { url: NodeUrl },
    /// Something else than a JSON-RPC answer came.
    #[error("{url} answered {method} with what is no JSON-RPC: {start:?}")]
    Malformed { url: NodeUrl, method: &'static str, start: String },
    /// The node said no.
    #[error("{method}: {message} (code {code})")]
    Node { method: &'static str, code: i64, message: String },
}

/// Calls `method` and gives its result. Each call is a connection of its own, ended by the node.
pub(crate) async fn call(
    url: &NodeUrl,
    method: &'static str,
    params: Value,
    wait: Duration,
) -> Result<Value, RpcError> {
    let late = |_| RpcError::Late { url: url.clone(), method, seconds: wait.as_secs() };
    let answer = timeout(wait, exchange(url, method, params)).await.map_err(late)?;
    let answer = answer.map_err(|error| RpcError::Io { url: url.clone(), error })?;
    read_answer(url, method, &answer)
}

async fn exchange(url: &NodeUrl, method: &str, params: Value) -> std::io::Result<Vec<u8>> {
    let body = json!({ "jsonrpc": "1.0", "id": 1, "method": method, "params": params }).to_string();
    let authorization = url.credentials().map_or_else(String::new, |credentials| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        format!("Authorization: Basic {encoded}\r\n")
    });
    // HTTP/1.0: the answer comes in one piece and its end is that of the connection.
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        url.host(),
        body.len(),
    );
    let mut stream = TcpStream::connect((url.host(), url.port())).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Takes the HTTP answer apart. An error comes with a status of its own and a body that says more.
fn read_answer(url: &NodeUrl, method: &'static str, answer: &[u8]) -> Result<Value, RpcError> {
    let malformed = || {
        let start = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
        RpcError::Malformed { url: url.clone(), method, start }
    };
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(malformed)?;
    let status = answer.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    if status == b"401" || status == b"403" {
        return Err(RpcError::Unauthorized { url: url.clone() });
    }
    let mut body: Value = serde_json::from_slice(&answer[head_end + 4..]).map_err(|_| malformed())?;
    match body.get("error").filter(|error| !error.is_null()) {
        None => Ok(body.get_mut("result").map(Value::take).unwrap_or_default()),
        Some(error) => Err(RpcError::Node {
            method,
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: error.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let url: NodeUrl = "http://a:1".parse().unwrap();
        let read = |answer: &str| read_answer(&url, "getblocktemplate", answer.as_bytes());
        let good = read("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"result\":7,\"error\":null,\"id\":1}").unwrap();
        assert_eq!(good, 7);
        let error = read(
            "HTTP/1.1 500 x\r\n\r\n{\"result\":null,\"error\":{\"code\":-9,\"message\":\"not connected\"}}",
        );
        assert!(matches!(error, Err(RpcError::Node { code: -9, .. })));
        assert!(matches!(read("HTTP/1.1 401 Unauthorized\r\n\r\n"), Err(RpcError::Unauthorized { .. })));
        for bad in ["", "HTTP/1.1 200 OK\r\n\r\n", "SSH-2.0", "HTTP/1.1 200 OK\r\n\r\n<html>"] {
            assert!(matches!(read(bad), Err(RpcError::Malformed { .. })), "{bad}");
        }
    }
}
