//! Lines from a stranger, as a pool and as a miner read them, and in chunks cut anywhere; and blobs of `getwork`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lode_primitives::Multiplier;
use lode_stratum::getwork::{Solution, write_work_solution};
use lode_stratum::{
    Call, LineSplitter, Login, MAX_CLIENT_LINE, ServerMessage, parse_request, password_difficulty, write_prime_submit,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = parse_request(data)
        && let Call::Submit(submit) = request.call
    {
        // The sixth parameter: version bits, or in the dialect of prime chains the multiplier, which is minimal.
        let _ = submit.version_bits();
        if let Some(multiplier) = submit.multiplier() {
            assert_eq!(Multiplier::from_signed_le(multiplier.as_bytes()), Ok(multiplier.clone()));
            // What the miner here writes of it is read as the same; none makes a chain with zero.
            if multiplier.as_bytes().is_empty() {
                return;
            }
            let mut line = Vec::new();
            write_prime_submit(1, "a", "1f", &[7; 8], submit.time, submit.nonce, &multiplier, &mut line);
            let again = parse_request(&line[..line.len() - 1]).map(|request| request.call);
            let Ok(Call::Submit(again)) = again else { panic!("{line:?}") };
            assert_eq!((again.multiplier(), again.time, again.nonce), (Some(multiplier), submit.time, submit.nonce));
        }
    }
    let _ = ServerMessage::parse(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Login::parse(text);
        let _ = password_difficulty(text);
        if let Some(solution) = Solution::parse(text) {
            for multiplier in solution.multipliers() {
                assert!(!multiplier.as_bytes().is_empty());
                let again = Solution::parse(&write_work_solution(&solution.header, &multiplier)).unwrap();
                assert_eq!(again.header, solution.header);
                assert!(again.multipliers().any(|read| read == multiplier));
            }
        }
    }
    // However a stream is cut, the same lines come out.
    let cut = data.first().map_or(1, |&byte| usize::from(byte).max(1));
    let (mut whole, mut cuts) = (Vec::new(), Vec::new());
    let at_once = LineSplitter::default().feed(data, MAX_CLIENT_LINE, |line| {
        whole.push(line.to_vec());
        true
    });
    let mut splitter = LineSplitter::default();
    let in_parts = data.chunks(cut).try_for_each(|chunk| {
        splitter.feed(chunk, MAX_CLIENT_LINE, |line| {
            cuts.push(line.to_vec());
            true
        })
    });
    assert!(splitter.held() <= MAX_CLIENT_LINE);
    if at_once.is_ok() && in_parts.is_ok() {
        assert_eq!(whole, cuts);
    }
});
