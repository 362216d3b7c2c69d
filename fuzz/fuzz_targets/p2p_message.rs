//! Every payload decoder and both framings. The first byte picks the message, the rest is its payload; what reads
//! must write back to something that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lode_p2p::Message;
use lode_p2p::frame::{FrameHeader, HEADER_LEN, split_v2};
use lode_p2p::message::COMMANDS;
use lode_primitives::Form;

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, payload)) = bytes.split_first() else { return };
    let forms = [
        Form { witness: true, data: false, multiplier: false },
        Form { witness: false, data: true, multiplier: true },
    ];
    for form in forms {
        let command = COMMANDS.get(usize::from(which)).copied().unwrap_or("nonsense");
        if let Ok(message) = Message::decode(command, payload, form) {
            let mut again = Vec::new();
            message.encode_payload(&mut again);
            // A merkle block's flag bits are the one thing with more than one form; user agents are cleaned.
            let read = Message::decode(message.command(), &again, form).expect("what was written reads");
            assert_eq!(read, message);
        }
    }
    let _ = split_v2(payload);
    if let Some(header) = payload.first_chunk::<HEADER_LEN>() {
        let _ = FrameHeader::parse(header, [0xf9, 0xbe, 0xb4, 0xd9]);
    }
});
