//! `lode load`: puts load on a Stratum V1 pool and says what it cost.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use lode_pool::load::{
    Attack, AttackOptions, ChurnReport, LoadOptions, LoadReport, ShareKind, attack, churn, run as run_load,
};

/// Put load on a Stratum V1 pool of your own and measure it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The pool: stratum+tcp://HOST:PORT or HOST:PORT.
    #[arg(short = 'o', long, value_name = "URL")]
    url: String,
    /// User name to log in with; % in it becomes the connection's number.
    #[arg(short, long)]
    user: String,
    /// Password.
    #[arg(short, long, default_value = "x")]
    password: String,
    /// Connections to hold.
    #[arg(short, long, default_value_t = 1000)]
    connections: usize,
    /// Connect from so many loopback addresses in turn (127.0.0.2 and on).
    #[arg(long, default_value_t = 0)]
    sources: u32,
    /// Connects under way at once.
    #[arg(long, default_value_t = 256)]
    connecting: usize,
    /// Seconds to hold the connections idle before memory is read.
    #[arg(long, default_value_t = 2)]
    idle: u64,
    /// Seconds to send shares.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Shares a second over all connections; 0: each connection as fast as it is answered.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Shares that a connection sends together.
    #[arg(long, default_value_t = 10)]
    pipeline: usize,
    /// Connections that send shares; the others stay idle.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    sending: usize,
    /// Send one share again and again, to be refused, instead of a fresh one each time.
    #[arg(long)]
    same: bool,
    /// Seconds to wait for new jobs at the end and measure their spread.
    #[arg(long, default_value_t = 0)]
    jobs: u64,
    /// Random lines to send at the end.
    #[arg(long, default_value_t = 0)]
    nonsense: u64,
    /// Instead of all else: log so many connections in, each to leave at once, and compare memory
    #[arg(long, default_value_t = 0)]
    churn: u64,
    /// Instead of all else: attack with the connections, --seconds long: churn, slow, malformed, low-work, silent; several
    /// by commas
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    attack: Vec<Attack>,
    /// The pool's process on this machine, for its memory and processor time.
    #[arg(long)]
    pid: Option<u32>,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the load to its end.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = resolve(&args.url)?;
    let json = args.json;
    let options = LoadOptions {
        address,
        user: args.user,
        password: args.password,
        connections: args.connections,
        sources: args.sources,
        connecting: args.connecting,
        idle: Duration::from_secs(args.idle),
        shares_for: Duration::from_secs(args.seconds),
        rate: args.rate.max(0.0),
        pipeline: args.pipeline,
        sending: args.sending,
        shares: if args.same { ShareKind::Same } else { ShareKind::Fresh },
        jobs_for: Duration::from_secs(args.jobs),
        nonsense: args.nonsense,
        pid: args.pid,
    };
    if !args.attack.is_empty() {
        let report = attack(&AttackOptions {
            address,
            kinds: args.attack,
            attackers: args.connections,
            sources: args.sources.max(1),
            user: options.user,
            time: options.shares_for,
            pause: Duration::from_secs(1),
        })?;
        println!("{}", serde_json::to_string(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.churn > 0 {
        let report = churn(&options, args.churn)?;
        if json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print_churn(&report);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = run_load(&options, |phase| {
        if !json {
            eprintln!("{phase}");
        }
    })?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn resolve(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url.strip_prefix("stratum+tcp://").unwrap_or(url).trim_end_matches('/');
    let mut addresses =
        host.to_socket_addrs().with_context(|| format!("{host} is not HOST:PORT of a pool"))?;
    addresses.next().with_context(|| format!("{host} has no address"))
}

fn print_churn(report: &ChurnReport) {
    println!("logged in and gone {} ({} refused or lost)", report.logins, report.lost);
    println!("log-ins a second   {:.0}", report.logins_per_second);
    if let Some(us) = report.cpu_us_per_login {
        println!("processor a log-in {us:.1} us");
    }
    if let Some([before, warm, after]) = report.memory.map(|memory| memory.map(|bytes| bytes / 1024)) {
        println!("memory             {before} KiB before, {warm} KiB after a tenth, {after} KiB at the end");
    }
}

fn print(report: &LoadReport) {
    println!("connections        {} ({} refused or lost)", report.connections, report.lost);
    println!("log-ins a second   {:.0}", report.logins_per_second);
    if let Some(bytes) = report.bytes_per_connection {
        println!("bytes a connection {bytes:.0}");
    }
    if report.accepted + report.refused > 0 {
        println!("shares accepted    {}", report.accepted);
        println!("shares refused     {}", report.refused);
        println!("without an answer  {}", report.unanswered);
        if report.cut_off > 0 {
            println!("cut off            {} on connections that the pool closed", report.cut_off);
        }
        println!("shares a second    {:.0}", report.shares_per_second);
    }
    if let Some(us) = report.cpu_us_per_share {
        println!("processor a share  {us:.2} us");
    }
    if let Some([median, p99, longest]) = report.latency_us {
        println!("answer after       {median} us median, {p99} us 99th percentile, {longest} us at most");
    }
    for job in &report.jobs {
        println!("job {:<14} {} connections within {} us", job.job, job.connections, job.spread_us);
    }
    if let (Some(before), Some(after)) = (report.memory_before, report.memory_after) {
        println!("memory             {} KiB before, {} KiB at the end", before / 1024, after / 1024);
    }
}
