//! The HTTP of `getwork`: JSON-RPC as the nodes of 2013 spoke it, with basic authentication.

use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lode_ledger::Worker;
use lode_stratum::Reject;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Gateway;
use crate::front::unix_us;
use crate::guard::Traffic;
use crate::job::Job;

/// Connections at once; each holds a few kB.
const CONNECTIONS_MAX: usize = 1_024;
/// Longest request: a solution is 1,024 digits at most.
const BODY_MAX: usize = 4_096;
/// A head, and again a body, has so long to come.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// What a work counts as in what an address may send (`pool.guard.bytes_per_second`): with the default 64 a second in the long
/// run.
const WORK_BYTES: u32 = 16 * 1024;
/// Says why a share was refused, as pools did when `getwork` was how one mined.
const REJECT_REASON: HeaderName = HeaderName::from_static("x-reject-reason");
/// JSON-RPC's code for everything without one of its own, and for methods that are not known.
const MISC_ERROR: i32 = -1;
const METHOD_NOT_FOUND: i32 = -32601;

/// The listening port; it closes when dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens. To be called within a tokio runtime.
pub(crate) fn start(
    address: SocketAddr,
    gateway: Gateway,
    jobs: watch::Receiver<Option<Arc<Job>>>,
) -> std::io::Result<Server> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    let task = tokio::spawn(serve(listener, Arc::new(gateway), jobs)).abort_handle();
    Ok(Server { address, task })
}

async fn serve(listener: TcpListener, gateway: Arc<Gateway>, mut jobs: watch::Receiver<Option<Arc<Job>>>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropped with this task, which ends them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            changed = jobs.changed() => {
                if changed.is_err() {
                    return;
                }
                let job = jobs.borrow_and_update().clone();
                if let Some(job) = job {
                    gateway.job(&job);
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else {
                    // Out of files, mostly.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                let Some(client) = Client::enter(Arc::clone(&gateway), peer.ip().to_canonical()) else { continue };
                connections.spawn(async move {
                    let _place = place;
                    let client = Arc::new(client);
                    let service = hyper::service::service_fn(move |request| {
                        let client = Arc::clone(&client);
                        async move { Ok::<_, Infallible>(client.answer(request).await) }
                    });
                    let served = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(READ_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service);
                    if let Err(error) = served.await {
                        tracing::debug!(%peer, %error, "a getwork connection ended");
                    }
                });
            }
        }
    }
}

/// One connection, as the guard knows it.
struct Client {
    gateway: Arc<Gateway>,
    address: IpAddr,
    arrived: Mutex<Arrived>,
}

/// Whether it has authorised; and its account's key, where it counts as a newcomer's.
#[derive(Default)]
struct Arrived {
    authorized: bool,
    newcomer: Option<u64>,
}

impl Drop for Client {
    fn drop(&mut self) {
        let arrived = self.arrived.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut guard = self.gateway.shared.guard();
        guard.leave(self.address, !arrived.authorized, unix_us() / 1000);
        if let Some(account) = arrived.newcomer.take() {
            guard.no_newcomer(account);
        }
    }
}

/// Why a request is not answered with a result.
enum Failure {
    /// No user name and password, or none that the books take.
    Unauthorized(&'static str),
    /// Too much of something.
    TooMany(&'static str),
    /// JSON-RPC's error.
    Rpc(i32, &'static str),
    /// Not even a request.
    Http(StatusCode),
}

impl Client {
    fn enter(gateway: Arc<Gateway>, address: IpAddr) -> Option<Self> {
        let shared = &gateway.shared;
        if shared.draining.load(Relaxed) {
            return None;
        }
        let entered = shared.guard().enter(address, unix_us() / 1000);
        if let Err(refusal) = entered {
            shared.turned_away(refusal);
            return None;
        }
        Some(Self { gateway, address, arrived: Mutex::default() })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut id = Value::Null;
        let mut response = Response::new(Full::default());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (status, result, error) = match self.request(request, &mut id).await {
            Ok(Answer::Value(value)) => (StatusCode::OK, value, Value::Null),
            Ok(Answer::Refused(reject)) => {
                response.headers_mut().insert(REJECT_REASON, HeaderValue::from_static(reject.message()));
                (StatusCode::OK, Value::Bool(false), Value::Null)
            }
            Err(Failure::Unauthorized(why)) => {
                let basic = HeaderValue::from_static("Basic realm=\"payout address\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, basic);
                (StatusCode::UNAUTHORIZED, Value::Null, json!({"code": MISC_ERROR, "message": why}))
            }
            Err(Failure::TooMany(why)) => {
                (StatusCode::TOO_MANY_REQUESTS, Value::Null, json!({"code": MISC_ERROR, "message": why}))
            }
            Err(Failure::Rpc(code, why)) => {
                let status = match code {
                    METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, Value::Null, json!({"code": code, "message": why}))
            }
            Err(Failure::Http(status)) => {
                (status, Value::Null, json!({"code": MISC_ERROR, "message": status.as_str()}))
            }
        };
        let body = json!({"result": result, "error": error, "id": id});
        *response.status_mut() = status;
        *response.body_mut() = Full::new(Bytes::from(body.to_string()));
        response
    }

    async fn request(&self, request: Request<Incoming>, id: &mut Value) -> Result<Answer, Failure> {
        if request.method() != Method::POST {
            return Err(Failure::Http(StatusCode::METHOD_NOT_ALLOWED));
        }
        let said = request.headers().get(AUTHORIZATION).and_then(|value| credentials(value.to_str().ok()?));
        let Some((user, password)) = said else {
            self.traffic(Traffic { bytes: 512, offences: 1.0, ..Traffic::default() })?;
            return Err(Failure::Unauthorized("the user is your payout address, the password is anything"));
        };
        let body =
            tokio::time::timeout(READ_TIMEOUT, Limited::new(request.into_body(), BODY_MAX).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err(Failure::Http(StatusCode::PAYLOAD_TOO_LARGE)),
            Err(_) => return Err(Failure::Http(StatusCode::REQUEST_TIMEOUT)),
        };
        self.traffic(Traffic { bytes: 512 + body.len() as u32, ..Traffic::default() })?;
        let Ok(mut call) = serde_json::from_slice::<Value>(&body) else {
            self.traffic(Traffic { offences: 1.0, ..Traffic::default() })?;
            return Err(Failure::Rpc(-32700, "Parse error"));
        };
        *id = call["id"].take();
        let worker = match self.gateway.user(&user, self.address) {
            Ok(worker) => worker,
            Err(Reject::Unauthorized) => {
                self.traffic(Traffic { offences: 1.0, ..Traffic::default() })?;
                return Err(Failure::Unauthorized("the user must be a payout address of the pool's coin"));
            }
            Err(_) => return Err(Failure::TooMany("too many user names; try again later")),
        };
        self.arrive(&worker)?;
        let params = call["params"].as_array().map_or(&[][..], Vec::as_slice);
        match (call["method"].as_str().unwrap_or_default(), params) {
            ("getwork", []) => self.give(&user, &password, worker),
            // Some send what came with the work behind its solution.
            ("getwork", [Value::String(blob), ..]) => self.take(blob.clone(), &worker).await,
            ("getblockcount", []) => match self.gateway.tip_height() {
                Some(height) => Ok(Answer::Value(height.into())),
                None => Err(Failure::Rpc(MISC_ERROR, Reject::Unavailable.message())),
            },
            ("getwork" | "getblockcount", _) => Err(Failure::Rpc(MISC_ERROR, "getwork [data]")),
            _ => Err(Failure::Rpc(METHOD_NOT_FOUND, "Method not found")),
        }
    }

    /// Tells the guard.
    fn traffic(&self, traffic: Traffic) -> Result<(), Failure> {
        let told = self.gateway.shared.guard().report(self.address, traffic, unix_us() / 1000);
        told.map_err(|_| Failure::TooMany("your address sends too much; ask for work every few seconds"))
    }

    /// The connection's first good user name.
    fn arrive(&self, worker: &Worker) -> Result<(), Failure> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.authorized {
            return Ok(());
        }
        let shared = &self.gateway.shared;
        let account = shared.account_keys.hash_one(worker.account().script());
        let newcomer = shared.guard().arrive(self.address, account, unix_us() / 1000);
        let newcomer =
            newcomer.map_err(|_| Failure::TooMany("too many connections of this account without work"))?;
        *arrived = Arrived { authorized: true, newcomer: newcomer.then_some(account) };
        Ok(())
    }

    fn give(&self, user: &str, password: &str, worker: Arc<Worker>) -> Result<Answer, Failure> {
        self.traffic(Traffic { bytes: WORK_BYTES, ..Traffic::default() })?;
        match self.gateway.give(user, password, worker) {
            Ok(given) => Ok(Answer::Value(json!({"data": given.data, "serverData": given.server_data}))),
            Err(reject) => Err(Failure::Rpc(MISC_ERROR, reject.message())),
        }
    }

    async fn take(&self, blob: String, worker: &Worker) -> Result<Answer, Failure> {
        let gateway = Arc::clone(&self.gateway);
        // It checks a chain and writes to disk.
        let taken = tokio::task::spawn_blocking(move || gateway.take(&blob)).await;
        let taken = taken.unwrap_or(Err(Reject::Unavailable));
        let (accepted, refused) = (u32::from(taken.is_ok()), u32::from(taken.is_err()));
        self.traffic(Traffic { accepted, refused, ..Traffic::default() })?;
        match taken {
            Ok(()) => {
                self.proved(worker);
                Ok(Answer::Value(Value::Bool(true)))
            }
            Err(reject) => Ok(Answer::Refused(reject)),
        }
    }

    /// A chain is work worth speaking of.
    fn proved(&self, worker: &Worker) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.gateway.shared;
        let account = shared.account_keys.hash_one(worker.account().script());
        let mut guard = shared.guard();
        guard.proved(self.address, account, unix_us() / 1000);
        if let Some(account) = arrived.newcomer.take() {
            guard.no_newcomer(account);
        }
    }
}

/// What a request is answered with.
enum Answer {
    Value(Value),
    /// A share was refused.
    Refused(Reject),
}

/// User and password of basic authentication.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let plain = BASE64.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(plain).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
