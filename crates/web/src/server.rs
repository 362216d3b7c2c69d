//! Routes, headers, live events, start and stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;

use crate::pages;
use crate::view::{BlockContent, BlockView, Source};

/// Blocks on the page of all blocks and in the API's list at most: what a page can show and a person read.
const BLOCKS_MAX: usize = 500;
/// Blocks on the front page.
const BLOCKS_FRONT: usize = 8;
/// Live event streams open at once; beyond it a page still shows, but does not update by itself.
const STREAMS_MAX: usize = 1000;

#[derive(Clone)]
struct Shared {
    source: Arc<dyn Source>,
    metrics: Option<PrometheusHandle>,
    streams: Arc<tokio::sync::Semaphore>,
}

/// All routes over a source; `metrics` answers `/metrics` where given.
pub fn router(source: Arc<dyn Source>, metrics: Option<PrometheusHandle>) -> Router {
    let shared = Shared { source, metrics, streams: Arc::new(tokio::sync::Semaphore::new(STREAMS_MAX)) };
    Router::new()
        .route("/", get(pool_page))
        .route("/blocks", get(blocks_page))
        .route("/block/{hash}", get(block_page))
        .route("/block/{hash}/data/{txid}", get(block_data))
        .route("/miner", get(miner_search))
        .route("/miner/{address}", get(miner_page))
        .route("/api/v1/pool", get(pool_json))
        .route("/api/v1/blocks", get(blocks_json))
        .route("/api/v1/blocks/{hash}", get(block_json))
        .route("/api/v1/miners/{address}", get(miner_json))
        .route("/api/v1/events", get(events))
        .route("/metrics", get(metrics_text))
        .route("/style.css", get(|| asset("text/css", include_str!("style.css"))))
        .route("/live.js", get(|| asset("text/javascript", include_str!("live.js"))))
        .route("/icon.svg", get(|| asset("image/svg+xml", include_str!("icon.svg"))))
        .fallback(not_found_page)
        .layer(middleware::map_response(guard_headers))
        .with_state(shared)
}

/// Pages come from this server alone and run nothing but its own script.
async fn guard_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(
        HeaderValue::from_static("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=3600")], text)
}

async fn pool_page(State(shared): State<Shared>) -> impl IntoResponse {
    pages::pool(&shared.source.pool(), &shared.source.blocks(BLOCKS_FRONT))
}

async fn blocks_page(State(shared): State<Shared>) -> impl IntoResponse {
    pages::blocks(&shared.source.pool(), &shared.source.blocks(BLOCKS_MAX))
}

async fn block_page(State(shared): State<Shared>, Path(hash): Path<String>) -> Response {
    let pool = shared.source.pool();
    match shared.source.block(&hash) {
        Some(block) => {
            let content = shared.source.content(&hash).await;
            pages::block(&pool, &block, content.as_deref()).into_response()
        }
        None => missing(&pages::not_found(&pool, "This pool has found no block with that id.")),
    }
}

/// What a transaction carries, as bytes to keep. A stranger wrote them, so no browser is to make a page or a script of
/// them in this server's name: not by their name, not by their looks, and if one does, without any right.
async fn block_data(State(shared): State<Shared>, Path((hash, txid)): Path<(String, String)>) -> Response {
    let content = shared.source.content(&hash).await.unwrap_or_default();
    let Some(data) = content.data.iter().find(|data| data.txid == txid) else {
        return missing(&pages::not_found(
            &shared.source.pool(),
            "No transaction with that id carries data in a block this pool has found.",
        ));
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        // The id is one found in the block, hence hex digits and nothing else.
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.bin\"", data.txid)),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned()),
    ];
    (headers, data.bytes.clone()).into_response()
}

#[derive(Deserialize)]
struct MinerQuery {
    #[serde(default)]
    address: String,
}

/// The search field's target. Only the characters of an address go on into a path.
async fn miner_search(Query(query): Query<MinerQuery>) -> Redirect {
    let address: String =
        query.address.trim().chars().filter(char::is_ascii_alphanumeric).take(127).collect();
    Redirect::to(&format!("/miner/{address}"))
}

async fn miner_page(State(shared): State<Shared>, Path(address): Path<String>) -> Response {
    let pool = shared.source.pool();
    match shared.source.miner(&address) {
        Some(miner) => pages::miner(&pool, &miner).into_response(),
        None => missing(&pages::not_found(
            &pool,
            "This pool knows no miner with that address. It appears here with its first accepted share.",
        )),
    }
}

async fn not_found_page(State(shared): State<Shared>) -> Response {
    missing(&pages::not_found(&shared.source.pool(), "There is no such page."))
}

fn missing(page: &maud::Markup) -> Response {
    (StatusCode::NOT_FOUND, page.clone()).into_response()
}

async fn pool_json(State(shared): State<Shared>) -> impl IntoResponse {
    Json(shared.source.pool())
}

async fn blocks_json(State(shared): State<Shared>) -> impl IntoResponse {
    Json(shared.source.blocks(BLOCKS_MAX))
}

async fn block_json(State(shared): State<Shared>, Path(hash): Path<String>) -> Response {
    let Some(block) = shared.source.block(&hash) else {
        return json_or_missing(None::<BlockJson<'_>>, NO_BLOCK);
    };
    let content = shared.source.content(&hash).await;
    json_or_missing(Some(BlockJson { block, content: content.as_deref() }), NO_BLOCK)
}

const NO_BLOCK: &str = "no block with that id was found by this pool";

/// A block with what it carries.
#[derive(Serialize)]
struct BlockJson<'a> {
    #[serde(flatten)]
    block: BlockView,
    #[serde(flatten)]
    content: Option<&'a BlockContent>,
}

async fn miner_json(State(shared): State<Shared>, Path(address): Path<String>) -> Response {
    json_or_missing(shared.source.miner(&address), "no miner with that address has had a share accepted")
}

#[derive(Serialize)]
struct ApiError {
    error: &'static str,
}

fn json_or_missing<T: Serialize>(found: Option<T>, error: &'static str) -> Response {
    match found {
        Some(view) => Json(view).into_response(),
        None => (StatusCode::NOT_FOUND, Json(ApiError { error })).into_response(),
    }
}

/// One `changed` event for each change of the source, at most two a second for each listener.
async fn events(State(shared): State<Shared>) -> Response {
    let Ok(place) = shared.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many live pages are open").into_response();
    };
    let stream = WatchStream::from_changes(shared.source.changes()).map(move |version| {
        let _held_while_open = &place;
        Ok::<_, Infallible>(Event::default().event("changed").data(version.to_string()))
    });
    let calm = stream.throttle(Duration::from_millis(500));
    Sse::new(calm).keep_alive(KeepAlive::default()).into_response()
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    match shared.metrics {
        Some(handle) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "metrics are not collected here").into_response(),
    }
}

/// Why the dashboard does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "the dashboard cannot listen on {address}: {error}; choose another (web.bind in the settings, --web-bind for lode up)"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// A listening dashboard, not serving yet.
pub struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// Takes the port, so that a taken one is told before anything else starts.
    pub async fn bind(
        address: SocketAddr,
        source: Arc<dyn Source>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, ServeError> {
        let listener =
            TcpListener::bind(address).await.map_err(|error| ServeError::Bind { address, error })?;
        Ok(Self { listener, router: router(source, metrics) })
    }

    /// The address listened on, with the port the system chose where 0 was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is done. Open event streams do not hold it up: the caller drops them with the runtime.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let (halt, halted) = tokio::sync::oneshot::channel::<()>();
        let serving = axum::serve(self.listener, self.router).with_graceful_shutdown(async move {
            stop.await;
            let _ = halt.send(());
        });
        tokio::select! {
            done = serving => done,
            () = async {
                // An event stream never ends by itself: a second after the stop it is left behind.
                let _ = halted.await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            } => Ok(()),
        }
    }
}
