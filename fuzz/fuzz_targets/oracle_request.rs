//! Requests and packets that reach the oracle from a hostile room: read or refused, never a wild read; what is read encodes to
//! the same bytes, and its strings lie within the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reenact_zygote::oracle::proto::{
    Body, Head, MAX_CWD, MAX_INHERITED, MAX_STRINGS, Packet, Words,
};
use reenact_zygote::oracle::scrub::is_refused;
use reenact_zygote::proto::Sink;

struct Out(Vec<u8>);

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    if let Some(packet) = Packet::decode(data) {
        assert_eq!(packet.encode(), data);
    }
    let Some((head, rest)) = Head::decode(data) else { return };
    assert!(head.strings as usize <= MAX_STRINGS && head.cwd as usize <= MAX_CWD);
    assert!(head.inherited_count() <= MAX_INHERITED);
    assert!(head.inherited().is_sorted());
    let mut again = Out(Vec::new());
    head.encode(&mut again);
    again.put(rest);
    assert_eq!(again.0, data);
    if let Some(body) = Body::parse(&head, rest) {
        check(&head, &body, rest);
    }
});

fn within(outer: &[u8], inner: &[u8]) -> bool {
    let (o, i) = (outer.as_ptr_range(), inner.as_ptr_range());
    o.start <= i.start && i.end <= o.end
}

fn check(head: &Head<'_>, body: &Body<'_>, bytes: &[u8]) {
    let each = |words: Words<'_>, count: u32| {
        assert_eq!(words.count(), count as usize);
        for word in words {
            assert!(within(bytes, word) && !word.contains(&0));
            // What exec gets is a pointer: the NUL must lie right behind, inside the message.
            let end = word.as_ptr_range().end as usize - bytes.as_ptr() as usize;
            assert_eq!(bytes[end], 0);
            let _kept = is_refused(word);
        }
    };
    each(body.argv, head.argc);
    each(body.env, head.envc);
    if let Some(cwd) = body.cwd {
        assert!(within(bytes, cwd) && cwd[0] == b'/' && cwd.last() == Some(&0));
        assert_eq!(cwd.iter().filter(|b| **b == 0).count(), 1);
    }
}
