//! What a visitor gets: pages, the API, live events, and clear answers to what is not there.

mod made_up;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use made_up::{HASH, MINER, MadeUp, PAGE, PICTURE};
use tower::ServiceExt;

async fn get(path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
    let (status, headers, body) = get_from(MadeUp::new(), path).await;
    (status, headers, String::from_utf8(body).unwrap())
}

async fn get_from(source: MadeUp, path: &str) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = lode_web::router(Arc::new(source), None).oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn the_front_page_says_how_to_mine_and_who_would_be_paid() {
    let (status, headers, page) = get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("lode mine -o stratum+tcp://127.0.0.1:3333"));
    assert!(page.contains(&format!("/miner/{MINER}")));
    assert!(page.contains("Near the limit of open files"));
    assert!(headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
}

#[tokio::test]
async fn what_miners_call_themselves_is_text_not_markup() {
    let hash = HASH.replace("a3c1", "00cc");
    let (status, _, page) = get(&format!("/block/{hash}")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"));
    let (_, _, page) = get(&format!("/miner/{MINER}")).await;
    assert!(page.contains("&lt;b&gt;attic") && !page.contains("<b>attic"));
}

#[tokio::test]
async fn the_api_gives_whole_satoshi() {
    let (status, _, text) = get(&format!("/api/v1/miners/{MINER}")).await;
    assert_eq!(status, StatusCode::OK);
    let miner: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(miner["next_block_sat"], 3_111_111_111u64);
    assert_eq!(miner["owed_sat"], -1234);
    let (_, _, text) = get("/api/v1/blocks").await;
    let blocks: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(blocks[1]["state"], "confirmed");
    assert_eq!(blocks[1]["depth"], 1);
    let (_, _, text) = get("/api/v1/pool").await;
    let pool: serde_json::Value = serde_json::from_str(&text).unwrap();
    let outputs = pool["next_block"]["outputs"].as_array().unwrap();
    let sum: i64 = outputs.iter().map(|output| output["amount_sat"].as_i64().unwrap()).sum();
    assert_eq!(pool["next_block"]["reward_sat"], sum);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_the_way_on() {
    for path in ["/nothing", "/block/00", "/miner/nobody", "/miner/%2e%2e%2f"] {
        let (status, _, page) = get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.contains("To the pool's front page"), "{path}");
    }
    let (status, _, text) = get("/api/v1/blocks/00").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("\"error\""));
}

#[tokio::test]
async fn the_search_field_leads_to_a_miner_and_nowhere_else() {
    let (status, headers, _) = get(&format!("/miner?address=%20{MINER}%20")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], format!("/miner/{MINER}"));
    let (_, headers, _) = get("/miner?address=//evil.example/%0d%0aX:1").await;
    assert_eq!(headers["location"], "/miner/evilexampleX1");
}

#[tokio::test]
async fn a_change_reaches_a_listening_page() {
    let source = Arc::new(MadeUp::new());
    let request = Request::get("/api/v1/events").body(Body::empty()).unwrap();
    let answer = lode_web::router(source.clone(), None).oneshot(request).await.unwrap();
    source.sender.send_modify(|version| *version += 1);
    let mut body = answer.into_body();
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&frame).contains("event: changed"));
}

#[tokio::test]
async fn a_chain_of_primes_is_shown_and_no_rate_is_called_hashes() {
    let hash = HASH.replace("a3c1", "00cc");
    let (_, _, page) = get_from(MadeUp::of_primes(), &format!("/block/{hash}")).await;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("Cunningham chain of the second kind (2CC)") && page.contains("10.4301 primes"));
    assert!(
        page.contains("61592551716229060392971860549140211602858978086524024531871935735163762961673908480")
    );
    for path in ["/", &format!("/miner/{MINER}")] {
        let (_, _, page) = get_from(MadeUp::of_primes(), path).await;
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("chains/s") && !page.contains("H/s") && !page.contains("Hash rate"), "{page}");
    }
    let (_, _, page) = get_from(MadeUp::of_primes(), "/").await;
    assert!(String::from_utf8(page).unwrap().contains("lode mine -a prime -o stratum+tcp://"));
    let (_, _, page) = get_from(MadeUp::of_primes(), &format!("/miner/{MINER}")).await;
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("Found 3 blocks; its shares are worth 9.42")
            && page.contains("so few once in 79 cases")
    );
    let (_, _, pool) = get_from(MadeUp::of_primes(), "/api/v1/pool").await;
    let pool: serde_json::Value = serde_json::from_slice(&pool).unwrap();
    assert_eq!((&pool["work_unit"], &pool["chain_length"]), (&"chains_of_6".into(), &10.4142.into()));
}

#[tokio::test]
async fn what_strangers_put_into_a_block_is_text_or_a_download_and_never_runs() {
    let hash = HASH.replace("a3c1", "00cc");
    let (_, _, page) = get_from(MadeUp::of_primes(), &format!("/block/{hash}")).await;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("&lt;script&gt;alert(document.cookie)&lt;/script&gt;\nHello, world."), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("<svg onload"));
    for (txid, bytes) in [(1, PAGE.as_bytes()), (2, PICTURE)] {
        let path = format!("/block/{hash}/data/{txid:064x}");
        assert!(page.contains(&format!("href=\"{path}\" download")));
        let (status, headers, body) = get_from(MadeUp::of_primes(), &path).await;
        assert_eq!((status, body.as_slice()), (StatusCode::OK, bytes));
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(headers["content-disposition"], format!("attachment; filename=\"{txid:064x}.bin\""));
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policies: Vec<_> = headers.get_all("content-security-policy").iter().collect();
        assert_eq!(policies, ["sandbox; default-src 'none'"]);
    }
    let (_, _, block) = get_from(MadeUp::of_primes(), &format!("/api/v1/blocks/{hash}")).await;
    let block: serde_json::Value = serde_json::from_slice(&block).unwrap();
    assert_eq!((&block["chain"]["kind"], &block["data"][1]["size"]), (&"2CC".into(), &PICTURE.len().into()));
    // Nothing of a block that is not the pool's, and nothing beside what is there.
    for path in [
        format!("/block/00/data/{:064x}", 1),
        format!("/block/{hash}/data/%22;x"),
        format!("/block/{hash}/data/"),
    ] {
        let (status, headers, _) = get_from(MadeUp::of_primes(), &path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(!headers.contains_key("content-disposition"));
    }
}
