//! The client driven by the pool's own encoders, and by what other pools send.

use lode_primitives::BlockHash;
use lode_stratum::{
    Call, Reject, parse_request, write_accepted, write_error, write_result, write_set_difficulty,
    write_set_extranonce, write_set_version_mask, write_subscribe_reply,
};

use super::*;

struct Talk {
    client: Client,
    now: Instant,
    out: Vec<u8>,
}

impl Talk {
    fn new() -> Self {
        let login = Login {
            user: "addr.rig".into(),
            password: "x".into(),
            agent: "test/1".into(),
            algorithm: PowAlgorithm::Sha256d,
            suggested: Difficulty::new(0.5),
        };
        let now = Instant::now();
        let mut talk = Self { client: Client::new(login, 1, now), now, out: Vec::new() };
        talk.client.greet(now, &mut talk.out);
        talk
    }

    /// The requests written since the last call: id and call.
    fn asked(&mut self) -> Vec<(String, String)> {
        let out = std::mem::take(&mut self.out);
        let lines = out.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let request = parse_request(line).unwrap();
                let name = match request.call {
                    Call::Configure(_) => "configure".into(),
                    Call::Subscribe { .. } => "subscribe".into(),
                    Call::SuggestDifficulty(Some(difficulty)) => format!("suggest {difficulty}"),
                    Call::Authorize { user, password } => format!("authorize {user} {password}"),
                    Call::Submit(submit) => format!("submit {} {}", submit.job_id, submit.extranonce2),
                    other => format!("{other:?}"),
                };
                (request.id.to_owned(), name)
            })
            .collect()
    }

    fn hear(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Vec<Happening> {
        let mut line = Vec::new();
        write(&mut line);
        self.client.take_line(line.strip_suffix(b"\n").unwrap_or(&line), self.now, &mut self.out)
    }

    fn hear_text(&mut self, line: &str) -> Vec<Happening> {
        self.hear(|out| out.extend_from_slice(line.as_bytes()))
    }

    fn log_in(&mut self) {
        self.hear(|out| write_subscribe_reply("2", &[1, 2, 3, 4], 4, out));
        let happened = self.hear(|out| write_accepted("4", out));
        assert!(matches!(happened[0], Happening::LoggedIn));
        self.asked();
    }

    fn job(&mut self, id: &str, clean_jobs: bool) -> Arc<Work> {
        match self.hear(|out| notify(id, clean_jobs).write(out)).pop() {
            Some(Happening::Work(work)) => work,
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, work: &Arc<Work>) -> bool {
        let unit = Arc::new(work.next_unit().unwrap());
        let share = Share { work: work.clone(), unit, nonce: 7, achieved: 1.0, multiplier: None };
        self.client.submit(&share, self.now, &mut self.out)
    }
}

fn notify(id: &str, clean_jobs: bool) -> Notify {
    Notify {
        job_id: id.into(),
        prev: BlockHash([3; 32]),
        coinbase1: vec![1],
        coinbase2: vec![2],
        branch: vec![],
        version: 0x2000_0000,
        bits: 0x207f_ffff,
        time: 1000,
        clean_jobs,
    }
}

fn names(asked: &[(String, String)]) -> Vec<&str> {
    asked.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn login_work_and_verdicts() {
    let mut talk = Talk::new();
    assert_eq!(names(&talk.asked()), ["configure", "subscribe"]);
    talk.hear(|out| {
        write_result("1", r#"{"version-rolling":true,"version-rolling.mask":"00006000"}"#, out);
    });
    talk.hear(|out| write_subscribe_reply("2", &[1, 2, 3, 4], 4, out));
    assert_eq!(names(&talk.asked()), ["suggest 0.5", "authorize addr.rig x"]);
    // A job before the login is done waits for it.
    talk.hear(|out| write_set_difficulty(Difficulty::new(0.25).unwrap(), out));
    assert!(talk.hear(|out| notify("a", true).write(out)).is_empty());
    let happened = talk.hear(|out| write_accepted("4", out));
    let [Happening::LoggedIn, Happening::Work(work)] = &happened[..] else { panic!("{happened:?}") };
    assert_eq!((work.difficulty.get(), work.version_mask, &*work.job.job_id), (0.25, 0x6000, "a"));
    let quarter = lode_primitives::Target(lode_primitives::U256::from(0xffff_u32) << 210_usize);
    assert_eq!(work.goal, Goal::Target(quarter));

    // Difficulty, mask and extranonce are for the jobs that follow.
    talk.hear(|out| write_set_difficulty(Difficulty::ONE, out));
    talk.hear(|out| write_set_version_mask(0xffff_ffff, out));
    talk.hear(|out| write_set_extranonce(&[5, 6], 2, out));
    let next = talk.job("b", false);
    assert_eq!((next.difficulty.get(), next.version_mask), (1.0, 0x1fff_e000));
    assert_eq!((&next.extranonce1[..], next.extranonce2_size), (&[5, 6][..], 2));

    // The job before stays good as long as no clean one comes.
    assert!(talk.submit(work));
    assert!(talk.submit(&next));
    assert_eq!(names(&talk.asked()), ["submit a 00000000", "submit b 0000"]);
    let accepted = talk.hear(|out| write_accepted("5", out));
    assert!(matches!(accepted[..], [Happening::Accepted { difficulty, .. }] if difficulty.get() == 0.25));
    let refused = talk.hear(|out| write_error("6", Reject::Stale, out));
    assert!(matches!(&refused[..], [Happening::Refused { code: 21, stale: true, .. }]));
    talk.job("c", true);
    assert!(!talk.submit(&next));
    assert_eq!(talk.client.unanswered_shares(), 0);
}

#[test]
fn refused_logins_end_it() {
    let mut talk = Talk::new();
    talk.hear(|out| write_subscribe_reply("2", &[1], 4, out));
    let refused = talk.hear(|out| write_error("4", Reject::Unauthorized, out));
    assert!(matches!(&refused[..], [Happening::LoginRefused(why)] if why.contains("Unauthorized")));

    let mut talk = Talk::new();
    talk.hear(|out| write_subscribe_reply("2", &[1], 4, out));
    let not_ready = talk.hear(|out| write_error("4", Reject::Unavailable, out));
    assert!(matches!(&not_ready[..], [Happening::Broken(_)]));

    for answer in
        [r#"{"id":2,"result":false,"error":null}"#, r#"{"id":2,"result":[[],"zz",4]}"#, "HTTP/1.1 400"]
    {
        let broken = Talk::new().hear_text(answer);
        assert!(matches!(&broken[..], [Happening::Broken(_)]), "{answer}");
    }
}

#[test]
fn what_other_pools_send_is_survived() {
    let mut talk = Talk::new();
    assert!(talk.hear_text(r#"{"id":1,"result":null,"error":[20,"Unknown method",null]}"#).is_empty());
    talk.log_in();
    for line in [
        r#"{"id":99,"result":true,"error":null}"#,
        r#"{"id":"x","result":true}"#,
        r#"{"id":null,"method":"mining.ping","params":[]}"#,
        r#"{"id":null,"method":"mining.set_difficulty","params":[]}"#,
        r#"{"id":null,"method":"mining.notify","params":["only an id"]}"#,
    ] {
        assert!(talk.hear_text(line).is_empty(), "{line}");
    }
    let text = talk.hear_text(r#"{"id":null,"method":"client.show_message","params":["Hello"]}"#);
    assert!(matches!(&text[..], [Happening::Message(text)] if text == "Hello"));
    let back = talk.hear_text(r#"{"id":null,"method":"client.reconnect","params":["",0,3]}"#);
    assert!(matches!(&back[..], [Happening::Reconnect { wait, .. }] if wait.as_secs() == 3));
    talk.hear_text(r#"{"id":"q","method":"client.get_version","params":[]}"#);
    assert_eq!(talk.out, b"{\"id\":\"q\",\"result\":\"test/1\",\"error\":null}\n");
    let work = talk.job("a", true);
    assert!(talk.submit(&work));
    let refused = talk.hear_text(r#"{"id":5,"result":false,"error":null}"#);
    assert!(matches!(&refused[..], [Happening::Refused { stale: false, .. }]));
}

#[test]
fn silence_is_noticed() {
    let mut talk = Talk::new();
    talk.hear_text(r#"{"id":1,"result":null,"error":[20,"",null]}"#);
    talk.log_in();
    talk.hear_text(r#"{"id":3,"result":true,"error":null}"#);
    assert_eq!(talk.client.overdue(talk.now + SILENCE_MAX), None);
    assert!(talk.client.overdue(talk.now + SILENCE_MAX + Duration::from_secs(1)).is_some());
    let work = talk.job("a", true);
    assert!(talk.submit(&work));
    assert_eq!(talk.client.overdue(talk.now + ANSWER_WAIT_MAX), None);
    assert!(talk.client.overdue(talk.now + ANSWER_WAIT_MAX + Duration::from_secs(1)).is_some());
}
