//! Each row of what real miners need of a session, and the path of a share.

use std::cell::RefCell;

use lode_stratum::{Notify, ServerMessage};
use serde_json::Value;

use super::*;
use crate::config::{PortConfig, VardiffConfig};
use crate::job::tests::{NOW, TestBooks, books, coin, job_paying, template};

/// A session with all that surrounds it.
struct Bench {
    session: Session,
    jobs: Jobs,
    settings: SessionSettings,
    books: RefCell<TestBooks>,
    now_ms: u64,
    shares: Vec<Share>,
    found: Vec<Found>,
    refused: [u64; Reject::ALL.len()],
    seq: u32,
}

struct Anyone<'a>(&'a RefCell<TestBooks>);

impl Accounts for Anyone<'_> {
    fn worker(&self, login: &Login) -> Result<Arc<Worker>, Reject> {
        let script = coin().address_to_script(&login.address).map_err(|_| Reject::Unauthorized)?;
        let mut books = self.0.borrow_mut();
        books.ledger.worker(&login.address, &script, &login.worker).map_err(|_| Reject::Unavailable)
    }

    fn credit_chain(&self, worker: &Worker, share: &ChainShare) -> Credit {
        self.0.borrow_mut().ledger.credit_chain(worker.account(), share)
    }
}

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const OTHER: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";

impl Bench {
    fn new() -> Self {
        let port = PortConfig { start_difficulty: 4.0, ..PortConfig::default() };
        Self::on(port, template())
    }

    /// On a chain where hardly a share is a block.
    fn on(port: PortConfig, mut template: crate::Template) -> Self {
        if template.bits == 0x207f_ffff {
            template.bits = 0x1700_ffff;
        }
        let settings = SessionSettings {
            version_mask: 0x1fff_e000,
            vardiff: VardiffConfig::default(),
            pow: coin().pow,
            ports: vec![port],
            farewell: write_farewell(Some(("eu.pool.example", 3333))),
            extranonces: Extranonces::starting_at(0xaa00_0001),
        };
        let mut bench = Self {
            session: Session::new(0, &settings, NOW),
            jobs: Jobs::new(coin().pow, Arc::default()),
            settings,
            books: RefCell::new(books(1)),
            now_ms: NOW,
            shares: vec![],
            found: vec![],
            refused: [0; Reject::ALL.len()],
            seq: 0x10,
        };
        bench.push(template, true);
        bench
    }

    /// Easy work: every hash is a share, none a block.
    fn easy() -> Self {
        let least = 1.0 / 4_294_967_296.0;
        Self::on(
            PortConfig {
                start_difficulty: least,
                min_difficulty: least,
                vardiff: false,
                ..PortConfig::default()
            },
            template(),
        )
    }

    fn push(&mut self, template: crate::Template, clean: bool) -> Vec<Value> {
        self.seq += 1;
        let mut job = job_paying(&mut self.books.borrow_mut(), self.seq, template);
        job.clean = clean;
        let job = Arc::new(job);
        self.jobs.push(Arc::clone(&job));
        let mut out = Vec::new();
        self.session.job(&job, self.jobs.oldest(), self.now_ms, &self.settings, &mut out);
        lines(&out)
    }

    fn next_job(&mut self) -> Vec<Value> {
        let template = self.jobs.current().unwrap().template.as_ref().clone();
        self.push(template, false)
    }

    fn line(&mut self, line: &str) -> (Vec<Value>, Fate) {
        let (mut out, mut answers) = (Vec::new(), Vec::new());
        let fate = self.session.line(
            line.as_bytes(),
            &mut Context {
                now_ms: self.now_ms,
                jobs: &mut self.jobs,
                accounts: &Anyone(&self.books),
                settings: &self.settings,
                shares: &mut self.shares,
                answers: &mut answers,
                found: &mut self.found,
                refused: &mut self.refused,
            },
            &mut out,
        );
        for range in answers {
            assert!(out[range].ends_with(b"\"result\":true,\"error\":null}\n"));
        }
        (lines(&out), fate)
    }

    fn ask(&mut self, method: &str, params: &str) -> Vec<Value> {
        self.line(&format!(r#"{{"id":1,"method":"{method}","params":{params}}}"#)).0
    }

    fn login(&mut self) -> Vec<Value> {
        let mut all = self.ask("mining.subscribe", r#"["cpuminer/2.5"]"#);
        all.extend(self.ask("mining.authorize", &format!(r#"["{ADDRESS}.rig","x"]"#)));
        all
    }

    /// Submits on the current job; what is given replaces the plain choice.
    fn submit(&mut self, change: impl FnOnce(&mut [String; 6])) -> Value {
        let job = self.jobs.current().unwrap();
        let mut fields = [
            format!("{ADDRESS}.rig"),
            job.id(),
            "0000000000000001".into(),
            format!("{:08x}", job.time),
            "00000001".into(),
            String::new(),
        ];
        change(&mut fields);
        let count = if fields[5].is_empty() { 5 } else { 6 };
        let params = serde_json::to_string(&fields[..count]).unwrap();
        let mut answers = self.ask("mining.submit", &params);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }
}

fn lines(out: &[u8]) -> Vec<Value> {
    out.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn methods(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["method"].as_str().unwrap_or("-")).collect()
}

fn code(answer: &Value) -> u64 {
    answer["error"][0].as_u64().unwrap_or(0)
}

fn notify(line: &Value) -> Notify {
    Notify::from_params(line["params"].as_array().unwrap()).unwrap()
}

#[test]
fn the_plain_handshake_sends_difficulty_once_and_one_job() {
    let mut bench = Bench::new();
    let all = bench.login();
    assert_eq!(methods(&all), ["-", "-", "mining.set_difficulty", "mining.notify"]);
    assert_eq!(all[0]["result"][1], "aa000001");
    assert_eq!(all[0]["result"][2], 8);
    assert_eq!(all[2]["params"][0], 4);
    assert!(notify(&all[3]).clean_jobs, "a new session is new to the extranonce");
}

#[test]
fn authorize_may_come_before_subscribe_and_configure_anywhere() {
    let mut bench = Bench::new();
    let configure = r#"[["version-rolling"],{"version-rolling.mask":"ffffffff"}]"#;
    let first = bench.ask("mining.configure", configure);
    assert_eq!(methods(&first), ["-"], "no set_version_mask before the reply to subscribe");
    assert_eq!(first[0]["result"]["version-rolling.mask"], "1fffe000");
    assert_eq!(methods(&bench.ask("mining.authorize", &format!(r#"["{ADDRESS}"]"#))), ["-"]);
    let all = bench.ask("mining.subscribe", "[]");
    assert_eq!(methods(&all), ["-", "mining.set_version_mask", "mining.set_difficulty", "mining.notify"]);
    assert_eq!(methods(&bench.ask("mining.configure", configure)), ["-", "mining.set_version_mask"]);
}

#[test]
fn subscribing_and_authorising_again_sends_no_job_twice() {
    let mut bench = Bench::new();
    bench.login();
    assert_eq!(methods(&bench.ask("mining.subscribe", r#"["x",null,"host",null]"#)), ["-"]);
    assert_eq!(methods(&bench.ask("mining.authorize", &format!(r#"["{OTHER}.b","x"]"#))), ["-"]);
}

#[test]
fn whoever_comes_before_the_first_job_gets_it_when_it_is_there() {
    let mut bench = Bench::new();
    let template = bench.jobs.current().unwrap().template.as_ref().clone();
    bench.jobs = Jobs::new(coin().pow, Arc::default());
    assert_eq!(methods(&bench.login()), ["-", "-"]);
    assert_eq!(methods(&bench.push(template, true)), ["mining.set_difficulty", "mining.notify"]);
}

#[test]
fn any_id_is_echoed() {
    let mut bench = Bench::new();
    for id in ["7", "\"seven\"", "null", "[7]"] {
        let (all, _) = bench.line(&format!(r#"{{"id":{id},"method":"mining.subscribe","params":[]}}"#));
        assert_eq!(all[0]["id"], serde_json::from_str::<Value>(id).unwrap());
    }
}

#[test]
fn small_talk_is_answered_without_an_error() {
    let mut bench = Bench::new();
    for method in [
        "mining.extranonce.subscribe",
        "mining.multi_version",
        "mining.get_transactions",
        "mining.ping",
        "mining.suggest_target",
    ] {
        let all = bench.ask(method, "[]");
        assert!(all.len() == 1 && all[0]["error"].is_null() && !all[0]["result"].is_null(), "{method}");
    }
    assert_eq!(code(&bench.ask("mining.dance", "[]")[0]), 20);
}

#[test]
fn strangers_are_told_why_and_closed_when_they_only_babble() {
    let mut bench = Bench::new();
    assert_eq!(code(&bench.ask("mining.authorize", r#"["nobody.x","x"]"#)[0]), 24);
    assert_eq!(code(&bench.submit(|_| {})), 25);
    bench.ask("mining.subscribe", "[]");
    assert_eq!(code(&bench.submit(|_| {})), 24);
    let fates: Vec<Fate> = (0..9).map(|_| bench.line("GET / HTTP/1.1").1).collect();
    assert_eq!((fates[7], fates[8]), (Fate::Stay, Fate::Malformed), "the refused user name counted too");
    let mut bench = Bench::new();
    let fates: Vec<Fate> = (0..50).map(|_| bench.line(r#"{"id":1,"method":"mining.ping"}"#).1).collect();
    assert_eq!((fates[48], fates[49]), (Fate::Stay, Fate::Malformed));
}

#[test]
fn names_cost_work() {
    let mut bench = Bench::easy();
    bench.login();
    let login = |bench: &mut Bench, n: u32| {
        code(&bench.ask("mining.authorize", &format!(r#"["{ADDRESS}.w{n}","x"]"#))[0])
    };
    assert!((0..16).all(|n| login(&mut bench, n) == 0));
    assert_eq!(login(&mut bench, 16), 20);
    assert_eq!(login(&mut bench, 3), 0, "a known one is no new one");
    assert_eq!(bench.submit(|_| {})["result"], true);
    assert_eq!(login(&mut bench, 16), 0);
}

#[test]
fn who_sends_only_what_is_refused_is_closed_and_an_unlucky_miner_is_not() {
    let mut bench = Bench::new();
    bench.login();
    let stale =
        format!(r#"{{"id":1,"method":"mining.submit","params":["{ADDRESS}.rig","ff","00","00","00"]}}"#);
    let last = (0..5_000).map(|_| bench.line(&stale).1).last();
    assert_eq!(last, Some(Fate::Refused));
    let mut bench = Bench::easy();
    bench.login();
    for n in 0..200 {
        assert_eq!(bench.submit(|fields| fields[4] = format!("{n:08x}"))["result"], true);
    }
    assert!((0..6_000).all(|_| bench.line(&stale).1 == Fate::Stay));
}

#[test]
fn a_share_is_accepted_once_and_credited_as_assigned() {
    let mut bench = Bench::easy();
    bench.login();
    assert_eq!(bench.submit(|_| {})["result"], true);
    assert_eq!(bench.shares.len(), 1);
    let share = &bench.shares[0];
    assert_eq!(share.worker.account().name(), ADDRESS);
    assert_eq!(share.worker.name(), "rig");
    assert_eq!(share.credit.to_units(), 1, "the least difficulty, however good the hash");
    let again = bench.submit(|_| {});
    assert_eq!((code(&again), again["reject-reason"].as_str()), (22, Some("Duplicate share")));
    assert_eq!(bench.shares.len(), 1);
    assert!(bench.found.is_empty());
    // The same written otherwise is the same.
    assert_eq!(code(&bench.submit(|fields| fields[4] = "1".into())), 22);
}

#[test]
fn shares_that_cannot_be_are_refused_with_their_code() {
    let mut bench = Bench::new();
    bench.login();
    assert_eq!(code(&bench.submit(|_| {})), 23, "difficulty 4 is not met by chance");
    assert_eq!(code(&bench.submit(|fields| fields[1] = "ffff".into())), 21);
    assert_eq!(code(&bench.submit(|fields| fields[1] = "nonsense".into())), 21);
    assert_eq!(code(&bench.submit(|fields| fields[2] = "zz".into())), 20);
    assert_eq!(code(&bench.submit(|fields| fields[0] = format!("{OTHER}.rig"))), 24);
    assert!(bench.shares.is_empty());
    assert_eq!(bench.refused[Reject::Stale.index()], 2);
}

#[test]
fn extranonce2_is_cut_or_padded() {
    let mut bench = Bench::easy();
    bench.login();
    assert_eq!(bench.submit(|fields| fields[2] = "00000001".into())["result"], true);
    assert_eq!(code(&bench.submit(|fields| fields[2] = "0000000100000000".into())), 22);
    assert_eq!(code(&bench.submit(|fields| fields[2] = "000000010000000077".into())), 22);
}

#[test]
fn time_goes_from_the_jobs_to_7000_seconds_later() {
    let mut bench = Bench::easy();
    bench.login();
    let time = bench.jobs.current().unwrap().time;
    for (offset, expected) in [(-1i64, 20), (0, 0), (7_000, 0), (7_001, 20)] {
        let answer = bench.submit(|fields| fields[3] = format!("{:08x}", i64::from(time) + offset));
        assert_eq!(code(&answer), expected, "{offset}");
    }
}

#[test]
fn version_bits_only_inside_the_mask_and_they_count() {
    let mut bench = Bench::easy();
    bench.login();
    assert_eq!(code(&bench.submit(|fields| fields[5] = "00002000".into())), 20, "not agreed on");
    assert_eq!(bench.submit(|fields| fields[5] = "00000000".into())["result"], true);
    bench.ask("mining.configure", r#"[["version-rolling"],{"version-rolling.mask":"00ffe000"}]"#);
    assert_eq!(
        code(&bench.submit(|fields| fields[5] = "10000000".into())),
        20,
        "outside the miner's own mask"
    );
    assert_eq!(bench.submit(|fields| fields[5] = "00002000".into())["result"], true);
}

#[test]
fn a_cut_user_name_still_credits_its_miner() {
    let mut bench = Bench::easy();
    bench.ask("mining.subscribe", "[]");
    bench.ask("mining.authorize", &format!(r#"["{ADDRESS}.{}","x"]"#, "w".repeat(40)));
    assert_eq!(bench.submit(|fields| fields[0] = format!("{ADDRESS}.wwwwww"))["result"], true);
    assert_eq!(bench.shares[0].worker.name(), "w".repeat(32));
}

#[test]
fn many_users_on_one_connection_are_each_credited() {
    let mut bench = Bench::easy();
    bench.login();
    bench.ask("mining.authorize", &format!(r#"["{OTHER}_b","x"]"#));
    assert_eq!(bench.submit(|fields| fields[0] = format!("{OTHER}_b"))["result"], true);
    assert_eq!(bench.shares[0].worker.account().name(), OTHER);
}

#[test]
fn a_job_of_the_block_before_is_stale_and_one_of_the_same_block_is_not() {
    let mut bench = Bench::easy();
    bench.login();
    let first = bench.jobs.current().unwrap().id();
    let all = bench.next_job();
    assert_eq!(methods(&all), ["mining.notify"]);
    assert!(!notify(&all[0]).clean_jobs);
    assert_eq!(bench.submit(|fields| fields[1] = first.clone())["result"], true);
    let mut next = bench.jobs.current().unwrap().template.as_ref().clone();
    next.prev = lode_primitives::BlockHash([0x77; 32]);
    let all = bench.push(next, true);
    assert!(notify(&all[0]).clean_jobs);
    assert_eq!(code(&bench.submit(|fields| (fields[1], fields[4]) = (first, "99".into()))), 21);
}

#[test]
fn a_share_is_judged_by_the_difficulty_of_its_job() {
    let mut bench = Bench::easy();
    bench.login();
    let first = bench.jobs.current().unwrap().id();
    assert_eq!(methods(&bench.ask("mining.suggest_difficulty", "[1000000]")), ["-"]);
    assert_eq!(bench.submit(|_| {})["result"], true, "the running job keeps its difficulty");
    let all = bench.next_job();
    assert_eq!(methods(&all), ["mining.set_difficulty", "mining.notify"]);
    assert_eq!(all[0]["params"][0], 1_000_000);
    assert_eq!(code(&bench.submit(|_| {})), 23);
    assert_eq!(bench.submit(|fields| (fields[1], fields[4]) = (first, "7".into()))["result"], true);
    assert_eq!(bench.shares[1].credit.to_units(), 1);
}

#[test]
fn wishes_before_the_first_job_are_met_at_once() {
    for (method, params) in [
        ("mining.suggest_difficulty", "[64]"),
        ("mining.suggest_target", r#"["0000000003fffc00000000000000000000000000000000000000000000000000"]"#),
        ("mining.configure", r#"[["minimum-difficulty"],{"minimum-difficulty.value":64}]"#),
    ] {
        let mut bench = Bench::new();
        bench.ask(method, params);
        assert_eq!(bench.login()[2]["params"][0], 64, "{method}");
    }
    let mut bench = Bench::new();
    bench.ask("mining.subscribe", r#"["bitaxe/BM1370"]"#);
    let all = bench.ask("mining.authorize", &format!(r#"["{ADDRESS}","x,d=2048"]"#));
    assert_eq!(all[1]["params"][0], 2048);
}

#[test]
fn less_than_1_goes_only_to_those_who_asked_or_can_read_it() {
    let mut bench = Bench::new();
    bench.ask("mining.subscribe", r#"["bitaxe/BM1370"]"#);
    bench.session.difficulty = Difficulty::new(0.25).unwrap();
    let all = bench.ask("mining.authorize", &format!(r#"["{ADDRESS}","x"]"#));
    assert_eq!(all[1]["params"][0], 1);
    bench.ask("mining.suggest_difficulty", "[0.25]");
    assert_eq!(bench.next_job()[0]["params"][0], 0.25);
}

#[test]
fn a_port_for_rentals_starts_high_and_never_goes_below() {
    let port = PortConfig {
        start_difficulty: 500_000.0,
        min_difficulty: 500_000.0,
        class: Some(CoinbaseClass::Rental),
        ..PortConfig::default()
    };
    let mut bench = Bench::on(port, template());
    bench.ask("mining.subscribe", r#"["whatsminer"]"#);
    bench.ask("mining.suggest_difficulty", "[16]");
    let all = bench.ask("mining.authorize", &format!(r#"["{ADDRESS}","d=1"]"#));
    assert_eq!(all[1]["params"][0], 500_000);
    assert_eq!(bench.session.class(), CoinbaseClass::Rental);
}

#[test]
fn difficulty_is_never_above_the_networks() {
    let mut easy = template();
    easy.bits = 0x1d00_ffff;
    let mut bench = Bench::on(PortConfig { start_difficulty: 1024.0, ..PortConfig::default() }, easy);
    assert_eq!(bench.login()[2]["params"][0], 1);
}

#[test]
fn vardiff_speaks_only_with_a_job() {
    let mut bench = Bench::easy();
    bench.settings.ports[0].vardiff = true;
    bench.login();
    for nonce in 0..200 {
        bench.now_ms += 100;
        bench.submit(|fields| fields[4] = format!("{nonce:08x}"));
    }
    let all = bench.next_job();
    assert_eq!(methods(&all), ["mining.set_difficulty", "mining.notify"]);
    let ratio = all[0]["params"][0].as_f64().unwrap() * 4_294_967_296.0;
    assert_eq!(ratio, 64.0, "10 shares a second where one in five seconds is wanted");
}

#[test]
fn a_burst_of_misses_goes_back_one_coinbase_class() {
    let mut bench = Bench::new();
    bench.ask("mining.subscribe", r#"["bitaxe/BM1366"]"#);
    bench.ask("mining.authorize", &format!(r#"["{ADDRESS}","x"]"#));
    assert_eq!(bench.session.class(), CoinbaseClass::Wide);
    for nonce in 0..8 {
        assert_eq!(code(&bench.submit(|fields| fields[4] = format!("{nonce:08x}"))), 23);
    }
    bench.next_job();
    assert_eq!(bench.session.class(), CoinbaseClass::Large);
}

/// Two boards behind one proxy that go through the same work.
#[test]
fn duplicates_lead_to_another_extranonce_where_it_is_understood() {
    for (subscribed, how) in [
        (true, ("mining.extranonce.subscribe", "[]")),
        (true, ("mining.configure", r#"[["subscribe-extranonce"],{}]"#)),
        (false, ("mining.ping", "[]")),
    ] {
        let mut bench = Bench::easy();
        bench.ask(how.0, how.1);
        bench.login();
        assert_eq!(bench.submit(|_| {})["result"], true);
        for _ in 0..8 {
            assert_eq!(code(&bench.submit(|_| {})), 22);
        }
        let before = bench.jobs.current().unwrap().id();
        let all = bench.next_job();
        if !subscribed {
            assert_eq!(methods(&all), ["mining.notify"]);
            continue;
        }
        assert_eq!(methods(&all), ["mining.set_extranonce", "mining.notify"]);
        assert_eq!(all[0]["params"], serde_json::json!(["aa000002", 8]));
        assert!(notify(&all[1]).clean_jobs, "what it had is about another extranonce");
        let header = |bench: &Bench| bench.session.extranonce1;
        assert_eq!(header(&bench), [0xaa, 0, 0, 2]);
        // The same nonce on the new job is new work, and what was on its way on the old one still counts.
        assert_eq!(bench.submit(|_| {})["result"], true);
        assert_eq!(code(&bench.submit(|fields| fields[1] = before.clone())), 22);
        assert_eq!(
            bench.submit(|fields| (fields[1], fields[4]) = (before, "00000077".into()))["result"],
            true
        );
        // Once is enough.
        assert_eq!(methods(&bench.next_job()), ["mining.notify"]);
    }
}

#[test]
fn only_those_known_to_read_it_are_told_of_a_planned_stop() {
    for (agent, told) in [("cgminer/4.12.1", true), ("bitaxe/BM1370/v2.9.0", false), ("", false)] {
        let mut bench = Bench::new();
        bench.ask("mining.subscribe", &format!("[{agent:?}]"));
        let mut out = Vec::new();
        bench.session.farewell(&bench.settings, &mut out);
        assert!(out.is_empty(), "nobody has authorised yet");
        bench.ask("mining.authorize", &format!(r#"["{ADDRESS}","x"]"#));
        bench.session.farewell(&bench.settings, &mut out);
        let all = lines(&out);
        match told {
            true => {
                assert_eq!(methods(&all), ["client.show_message", "client.reconnect"]);
                assert_eq!(all[1]["params"], serde_json::json!(["eu.pool.example", "3333", 5]));
            }
            false => assert!(all.is_empty(), "{agent}"),
        }
    }
}

#[test]
fn a_block_is_found_even_on_a_stale_job() {
    let mut bench = Bench::easy();
    bench.push(template(), true);
    bench.login();
    let id = bench.jobs.current().unwrap().id();
    // Regtest's target: every other hash.
    let mut tries = 0..100;
    while bench.found.is_empty() {
        let nonce = tries.next().unwrap();
        bench.submit(|fields| fields[4] = format!("{nonce:08x}"));
    }
    let found = &bench.found[0];
    assert_eq!(found.job.id(), id);
    let block = found.job.block(&found.class, &found.solution);
    let hash = lode_primitives::sha256d(&block[..80]);
    assert!(matches!(found.job.network_goal, Goal::Target(target) if target.is_met_by(&hash)));
    let mut next = template();
    next.prev = lode_primitives::BlockHash([0x77; 32]);
    bench.push(next, true);
    let (blocks, shares) = (bench.found.len(), bench.shares.len());
    for nonce in 1000..1050 {
        let answer = bench.submit(|fields| (fields[1], fields[4]) = (id.clone(), format!("{nonce:08x}")));
        assert_eq!(code(&answer), 21);
    }
    assert!(bench.found.len() > blocks, "it may still win");
    assert_eq!(bench.shares.len(), shares, "but it is not credited");
}

#[test]
fn what_a_session_sends_is_what_a_miner_reads() {
    let mut bench = Bench::new();
    let all = bench.login();
    for line in &all {
        let message = ServerMessage::parse(line.to_string().as_bytes()).unwrap();
        assert!(!matches!(message, ServerMessage::Unknown(_)), "{line}");
    }
}

#[test]
fn a_session_is_small() {
    let size = size_of::<Session>();
    assert!(size <= 320, "{size} bytes: tens of thousands of them are held");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn any_lines_are_survived(lines in proptest::collection::vec(
        proptest::prop_oneof![
            ".{0,120}",
            r#"\{"id":[0-9]{1,3},"method":"mining\.(submit|subscribe|authorize|configure|suggest_difficulty)","params":\[("[a-z0-9.]{0,12}",?){0,7}\]\}"#,
        ],
        0..30,
    )) {
        let mut bench = Bench::new();
        for line in lines {
            let mut out = Vec::new();
            let mut answers = Vec::new();
            bench.session.line(line.as_bytes(), &mut Context {
                now_ms: bench.now_ms, jobs: &mut bench.jobs, accounts: &Anyone(&bench.books),
                settings: &bench.settings, shares: &mut bench.shares, answers: &mut answers,
                found: &mut bench.found, refused: &mut bench.refused,
            }, &mut out);
        }
    }
}
