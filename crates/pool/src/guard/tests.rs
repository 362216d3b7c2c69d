use std::net::Ipv4Addr;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn guard(change: impl FnOnce(&mut GuardConfig)) -> Guard {
    let mut config = GuardConfig { deny: vec!["192.0.2.0/24".parse().unwrap()], ..GuardConfig::default() };
    change(&mut config);
    Guard::new(config)
}

fn offend(guard: &mut Guard, address: IpAddr, offences: f32, now_ms: u64) {
    let traffic = Traffic { offences, ..Traffic::default() };
    guard.report(address, traffic, now_ms).unwrap();
}

#[test]
fn a_block_has_its_limits_and_gets_them_back() {
    let mut guard = guard(|c| (c.connections_per_block, c.connects_per_second, c.connects_burst) = (2, 1, 3));
    let a = ip("198.51.100.1");
    assert_eq!(guard.enter(a, 0), Ok(()));
    assert_eq!(guard.enter(a, 0), Ok(()));
    assert_eq!(guard.enter(a, 0), Err(Refusal::Connections));
    guard.leave(a, false, 0);
    assert_eq!(guard.enter(a, 0), Ok(()));
    guard.leave(a, false, 0);
    assert_eq!(guard.enter(a, 10), Err(Refusal::Rate));
    assert_eq!(guard.look(a, 10).unwrap().last_refusal, Some((Refusal::Rate, 10)));
    assert_eq!(guard.enter(a, 1_100), Ok(()));
    assert_eq!(guard.enter(ip("198.51.100.2"), 0), Ok(()), "another address is another block");
    assert_eq!(guard.enter(ip("192.0.2.9"), 0), Err(Refusal::Denied));
    for _ in 0..100 {
        assert_eq!(guard.enter(ip("127.0.0.1"), 0), Ok(()));
    }
    guard.leave(a, false, 0);
    guard.leave(a, false, 0);
    guard.leave(ip("198.51.100.2"), false, 0);
    (0..100).for_each(|_| guard.leave(ip("127.0.0.1"), true, 0));
    guard.forget(1_000_000);
    assert!(guard.is_empty());
}

#[test]
fn the_allowed_are_let_in_whatever_else_is_said() {
    let mut guard = guard(|c| {
        c.allow = vec!["192.0.2.7".parse().unwrap()];
        c.deny = vec!["0.0.0.0/0".parse().unwrap()];
    });
    assert_eq!(guard.enter(ip("192.0.2.7"), 0), Ok(()));
    assert_eq!(guard.enter(ip("192.0.2.8"), 0), Err(Refusal::Denied));
    guard.ban("192.0.2.0/24".parse().unwrap(), 1_000, 0);
    assert_eq!(guard.enter(ip("192.0.2.7"), 0), Ok(()));
    assert_eq!(guard.would_refuse(ip("192.0.2.7"), 0), None);
}

#[test]
fn offences_fade_and_bans_grow_and_end() {
    let mut guard = guard(|c| c.offences_max = 10);
    let a = ip("198.51.100.1");
    assert_eq!(guard.enter(a, 0), Ok(()));
    offend(&mut guard, a, 9.0, 0);
    assert_eq!(guard.bans(600_000), [], "ten minutes later all is forgotten");
    offend(&mut guard, a, 9.0, 600_000);
    assert_eq!(guard.bans(600_000), []);
    offend(&mut guard, a, 1.0, 600_000);
    assert_eq!(guard.enter(a, 659_999), Err(Refusal::Banned));
    assert_eq!(guard.bans(659_999).len(), 1);
    assert_eq!(guard.enter(a, 660_000), Ok(()));
    offend(&mut guard, a, 10.0, 660_000);
    assert_eq!(guard.enter(a, 779_999), Err(Refusal::Banned), "twice as long");
    assert_eq!(guard.take_news().0.len(), 2);
    assert_eq!(guard.enter(a, 780_000), Ok(()));
    guard.enter(ip("127.0.0.1"), 0).unwrap();
    offend(&mut guard, ip("127.0.0.1"), 1e6, 780_000);
    assert_eq!(guard.bans(780_000), []);
}

#[test]
fn bans_go_into_the_next_run_and_their_count_with_them() {
    let mut guard = guard(|_| ());
    let a = ip("198.51.100.1");
    guard.enter(a, 0).unwrap();
    offend(&mut guard, a, 100.0, 0);
    guard.ban("203.0.113.0/24".parse().unwrap(), 500_000, 0);
    assert!(guard.take_changed() && !guard.take_changed());
    let mut next = self::guard(|_| ());
    next.restore(guard.all_bans(0), 0);
    assert_eq!(next.all_bans(0), guard.all_bans(0));
    assert_eq!(next.enter(a, 59_999), Err(Refusal::Banned));
    assert_eq!(next.enter(a, 60_000), Ok(()));
    offend(&mut next, a, 100.0, 60_000);
    assert_eq!(next.enter(a, 179_999), Err(Refusal::Banned), "the second ban is longer");
    assert_eq!(next.enter(ip("203.0.113.9"), 499_999), Err(Refusal::Banned));
    assert_eq!(next.unban("198.51.100.0/24".parse().unwrap(), 100_000), 1);
    assert_eq!(next.unban("203.0.113.0/24".parse().unwrap(), 100_000), 1);
    assert_eq!(next.enter(a, 100_000), Ok(()));
    assert_eq!(next.enter(ip("203.0.113.9"), 100_000), Ok(()));
}

#[test]
fn floods_of_refused_shares_ban_and_a_farm_with_a_broken_machine_stays() {
    let mut guard = guard(|c| c.refused_max = 1_000);
    let (bad, farm) = (ip("198.51.100.1"), ip("198.51.100.2"));
    let refused = Traffic { refused: 1_000, ..Traffic::default() };
    guard.enter(bad, 0).unwrap();
    guard.enter(farm, 0).unwrap();
    guard.report(farm, Traffic { accepted: 100, ..Traffic::default() }, 0).unwrap();
    guard.report(farm, refused, 0).unwrap();
    guard.report(bad, refused, 0).unwrap();
    assert_eq!(guard.bans(0).len(), 1);
    assert_eq!(guard.would_refuse(bad, 0), Some(Refusal::Banned));
    guard.proved(farm, 1, 0);
    offend(&mut guard, farm, 999.0, 0);
    assert_eq!(guard.would_refuse(farm, 0), None);
}

#[test]
fn who_sends_too_much_is_told_so() {
    let mut guard = guard(|c| (c.bytes_per_second, c.bytes_burst) = (1_000, 10_000));
    let a = ip("198.51.100.1");
    guard.enter(a, 0).unwrap();
    let some = Traffic { bytes: 6_000, ..Traffic::default() };
    assert_eq!(guard.report(a, some, 0), Ok(()));
    assert_eq!(guard.report(a, some, 0), Err(Refusal::Bytes));
    assert_eq!(guard.report(a, some, 10_000), Ok(()));
    assert_eq!(guard.top(1, 10_000)[0].network, NetworkBlock::of(a));
}

#[test]
fn strangers_under_an_account_do_not_keep_its_miner_out() {
    let mut guard = guard(|c| c.newcomers_per_account = 2);
    let (big, bad) = (ip("198.51.100.1"), ip("203.0.113.1"));
    guard.enter(big, 0).unwrap();
    assert_eq!(guard.arrive(big, 7, 0), Ok(true));
    guard.proved(big, 7, 0);
    guard.no_newcomer(7);
    for _ in 0..2 {
        guard.enter(bad, 0).unwrap();
        assert_eq!(guard.arrive(bad, 7, 0), Ok(true));
    }
    guard.enter(bad, 0).unwrap();
    assert_eq!(guard.arrive(bad, 7, 0), Err(Refusal::Account));
    for _ in 0..10 {
        guard.enter(big, 0).unwrap();
        assert_eq!(guard.arrive(big, 7, 0), Ok(false), "proven for this account");
    }
    assert_eq!(guard.arrive(bad, 8, 0), Ok(true), "another account is free");
}

#[test]
fn user_names_and_strangers_have_their_rates() {
    let mut guard = guard(|c| (c.logins_per_second, c.logins_burst, c.strangers_per_block) = (1, 2, 2));
    let a = ip("198.51.100.1");
    guard.enter(a, 0).unwrap();
    guard.enter(a, 0).unwrap();
    assert_eq!(guard.enter(a, 0), Err(Refusal::Strangers));
    assert_eq!(guard.arrive(a, 1, 0), Ok(true));
    assert_eq!(guard.enter(a, 0), Ok(()));
    assert_eq!(guard.login(a, 0), Ok(()));
    assert_eq!(guard.login(a, 0), Ok(()));
    assert_eq!(guard.login(a, 0), Err(Refusal::Logins));
    assert_eq!(guard.login(a, 1_000), Ok(()));
}

#[test]
fn all_together_have_a_rate_of_user_names_and_the_proven_are_not_held_up() {
    let mut guard = guard(|c| (c.logins_per_second_in_all, c.logins_burst_in_all) = (1, 3));
    let miner = ip("198.51.100.1");
    guard.enter(miner, 0).unwrap();
    guard.proved(miner, 1, 0);
    let strangers: Vec<IpAddr> = (1..=5).map(|n| ip(&format!("203.0.113.{n}"))).collect();
    for stranger in &strangers {
        guard.enter(*stranger, 0).unwrap();
    }
    let said: Vec<_> = strangers.iter().map(|stranger| guard.login(*stranger, 0)).collect();
    assert_eq!(said[..3], [Ok(()); 3]);
    assert_eq!(said[3..], [Err(Refusal::LoginsInAll); 2], "from another block each, and too many in all");
    assert_eq!(guard.look(strangers[4], 0).unwrap().last_refusal, Some((Refusal::LoginsInAll, 0)));
    for _ in 0..10 {
        assert_eq!(guard.login(miner, 0), Ok(()));
    }
    guard.enter(ip("127.0.0.1"), 0).unwrap();
    assert_eq!(guard.login(ip("127.0.0.1"), 0), Ok(()), "allowed");
    assert_eq!(guard.login(strangers[4], 1_000), Ok(()), "one a second");
    assert_eq!(guard.login(strangers[4], 1_000), Err(Refusal::LoginsInAll));
}

#[test]
fn churn_is_an_offence_and_the_proven_pass_where_all_are_too_many() {
    let mut guard = guard(|c| (c.connects_per_second_in_all, c.connects_burst_in_all) = (1, 1_500));
    let (churner, miner) = (ip("203.0.113.1"), ip("198.51.100.1"));
    guard.enter(miner, 0).unwrap();
    guard.proved(miner, 1, 0);
    let mut let_in = 0;
    while guard.enter(churner, 0).is_ok() {
        guard.leave(churner, true, 0);
        let_in += 1;
    }
    assert!((999..=1_001).contains(&let_in), "{let_in}");
    assert_eq!(guard.would_refuse(churner, 0), Some(Refusal::Banned));
    let crowd =
        (0..1_000).filter(|n| guard.enter(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n)), 0).is_ok());
    assert_eq!(crowd.count(), 1_499 - let_in);
    assert_eq!(guard.enter(miner, 0), Ok(()));
    assert_eq!(guard.enter(ip("198.51.100.9"), 0), Err(Refusal::RateInAll));
}

#[test]
fn the_tables_are_bounded_and_bans_make_way_for_the_connected() {
    let mut guard = guard(|c| (c.connects_burst_in_all, c.offences_max) = (1 << 24, 1));
    for n in 0..100_000u32 {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n));
        if guard.enter(address, 0).is_ok() {
            offend(&mut guard, address, 1.0, 0);
            guard.leave(address, false, 0);
        }
        guard.refused(address, Refusal::Full, 0);
    }
    assert_eq!(guard.len(), BLOCKS_MAX);
    assert_eq!(guard.take_news().0.len(), NEWS_MAX);
    assert_eq!(guard.enter(ip("198.51.100.1"), 0), Err(Refusal::Crowded));
    assert_eq!(guard.enter(ip("198.51.100.1"), 1_000), Ok(()));
    for n in 0..5_000u32 {
        guard.ban(NetworkBlock::of(IpAddr::V4(Ipv4Addr::from_bits(n))), 10_000, 0);
    }
    assert_eq!(guard.bans(0).len(), OPERATOR_BANS_MAX);
}
