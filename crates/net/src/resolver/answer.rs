//! What a question is answered with.

use std::net::Ipv4Addr;

use bhatti_types::egress::EgressMode;
use bhatti_types::id::UserId;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::networks::Names;
use crate::range::Range;

/// The domain of the machines.
pub(crate) const DOMAIN: &str = "sb";
/// Nobody is to remember who has a name: a rename is seen at once.
const TTL: u32 = 0;

/// What is to be done with a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask outside.
    Forward,
    /// It is no question: say nothing.
    Nothing,
}

/// Who asks, and where.
pub(crate) struct Asker<'a> {
    pub(crate) user: &'a UserId,
    /// The policy of the machine; `None` for one that is not let in.
    pub(crate) mode: Option<EgressMode>,
    pub(crate) range: Range,
}

/// Answers a question, as far as it is not for others.
pub(crate) fn answer(question: &[u8], asker: &Asker<'_>, names: &dyn Names) -> Answer {
    let Ok(question) = Message::from_vec(question) else {
        return Answer::Nothing;
    };
    let head = &question.metadata;
    if head.message_type != MessageType::Query {
        return Answer::Nothing;
    }
    let [query] = question.queries.as_slice() else {
        return refuse(&question, ResponseCode::FormErr);
    };
    if head.op_code != OpCode::Query {
        return refuse(&question, ResponseCode::NotImp);
    }
    let Some(mode) = asker.mode else {
        return refuse(&question, ResponseCode::Refused);
    };
    if query.query_class() == DNSClass::IN
        && let Some(found) = own(query, asker, names)
    {
        return found.map_or_else(
            || refuse(&question, ResponseCode::NXDomain),
            |records| reply(&question, ResponseCode::NoError, records),
        );
    }
    match mode {
        EgressMode::Open | EgressMode::Public => Answer::Forward,
        EgressMode::Deny => refuse(&question, ResponseCode::Refused),
    }
}

/// The records of a name in this network: `None` if the name is another's to know, `Some(None)`
/// if there is nothing of that name.
#[expect(
    clippy::option_option,
    reason = "not ours, and ours but nothing, are two answers"
)]
fn own(query: &Query, asker: &Asker<'_>, names: &dyn Names) -> Option<Option<Vec<Record>>> {
    let (name, kind) = (query.name(), query.query_type());
    let of_kind = |wanted, data: RData| {
        if kind == wanted || kind == RecordType::ANY {
            vec![Record::from_rdata(name.clone(), TTL, data)]
        } else {
            Vec::new()
        }
    };
    if let Some(machine) = machine_name(name) {
        let address = machine.and_then(|machine| names.address_of(asker.user, &machine));
        return Some(address.map(|address| of_kind(RecordType::A, RData::A(A(address)))));
    }
    let address = reverse(name)?;
    if !asker.range.all().contains(address) {
        return None;
    }
    let name = names.name_at(asker.user, address);
    let target = name.and_then(|name| Name::from_ascii(format!("{name}.{DOMAIN}.")).ok());
    Some(target.map(|target| of_kind(RecordType::PTR, RData::PTR(PTR(target)))))
}

/// The address that a name such as `2.0.83.10.in-addr.arpa` stands for.
fn reverse(name: &Name) -> Option<Ipv4Addr> {
    let labels: Vec<&[u8]> = name.iter().collect();
    let [d, c, b, a, domain, root] = labels.as_slice() else {
        return None;
    };
    if !domain.eq_ignore_ascii_case(b"in-addr") || !root.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let text = [*a, *b, *c, *d].join(&b'.');
    String::from_utf8(text).ok()?.parse().ok()
}

/// What stands before the domain: `Some(None)` for what can be no machine's name.
#[expect(
    clippy::option_option,
    reason = "not ours, and ours but no name, are two things"
)]
fn machine_name(name: &Name) -> Option<Option<String>> {
    let labels: Vec<&[u8]> = name.iter().collect();
    let (last, before) = labels.split_last()?;
    if !last.eq_ignore_ascii_case(DOMAIN.as_bytes()) {
        return None;
    }
    // A machine's name may have dots in it.
    let text = before.join(&b'.');
    Some(String::from_utf8(text).ok().filter(|text| !text.is_empty()))
}

fn refuse(question: &Message, code: ResponseCode) -> Answer {
    reply(question, code, Vec::new())
}

fn reply(question: &Message, code: ResponseCode, records: Vec<Record>) -> Answer {
    let asked = &question.metadata;
    let mut reply = Message::response(asked.id, asked.op_code);
    reply.metadata.recursion_desired = asked.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = code != ResponseCode::Refused;
    reply.metadata.response_code = code;
    reply.add_queries(question.queries.iter().take(1).cloned());
    reply.add_answers(records);
    reply.to_vec().map_or(Answer::Nothing, Answer::Reply)
}

#[cfg(test)]
mod test {
    use std::net::Ipv4Addr;

    use bhatti_types::egress::EgressMode;
    use bhatti_types::id::UserId;
    use bhatti_types::name::SandboxName;
    use hickory_proto::op::{Message, Query, ResponseCode};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, RecordType};

    use super::{Answer, Asker, answer};
    use crate::networks::Names;
    use crate::range::Range;

    /// `db` at .2 and `My.App` at .3.
    struct Two;

    impl Names for Two {
        fn address_of(&self, _user: &UserId, name: &str) -> Option<Ipv4Addr> {
            match name.to_ascii_lowercase().as_str() {
                "db" => Some([10, 83, 0, 2].into()),
                "my.app" => Some([10, 83, 0, 3].into()),
                _ => None,
            }
        }

        fn name_at(&self, _user: &UserId, address: Ipv4Addr) -> Option<SandboxName> {
            match address.octets()[3] {
                2 => Some("db".parse().unwrap()),
                3 => Some("My.App".parse().unwrap()),
                _ => None,
            }
        }
    }

    const PUBLIC: Option<EgressMode> = Some(EgressMode::Public);
    const DENY: Option<EgressMode> = Some(EgressMode::Deny);

    fn ask(mode: Option<EgressMode>, name: &str, kind: RecordType) -> Answer {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let asker = Asker {
            user: &"usr_00000001".parse().unwrap(),
            mode,
            range: Range::default(),
        };
        answer(&question.to_vec().unwrap(), &asker, &Two)
    }

    fn told(answer: Answer) -> (ResponseCode, Vec<RData>) {
        let Answer::Reply(bytes) = answer else {
            panic!("{answer:?}")
        };
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(reply.answers.iter().all(|record| record.ttl == 0));
        let data = reply.answers.into_iter().map(|record| record.data);
        (reply.metadata.response_code, data.collect())
    }

    #[test]
    fn a_machines_name_is_its_address_and_the_other_way_round() {
        let (code, data) = told(ask(PUBLIC, "MY.app.SB.", RecordType::A));
        assert_eq!(code, ResponseCode::NoError);
        assert_eq!(data, [RData::A(A::new(10, 83, 0, 3))]);
        let (_, data) = told(ask(DENY, "2.0.83.10.in-addr.arpa.", RecordType::PTR));
        assert_eq!(data[0].to_string(), "db.sb.");
    }

    #[test]
    fn a_name_that_is_there_has_no_other_records() {
        let (code, data) = told(ask(PUBLIC, "db.sb.", RecordType::AAAA));
        assert_eq!((code, data.len()), (ResponseCode::NoError, 0));
    }

    #[test]
    fn what_is_not_there_is_known_not_to_be() {
        for name in ["web.sb.", "sb.", "9.0.83.10.in-addr.arpa."] {
            let (code, _) = told(ask(PUBLIC, name, RecordType::A));
            assert_eq!(code, ResponseCode::NXDomain, "{name}");
        }
    }

    #[test]
    fn other_names_are_asked_outside_unless_the_machine_may_reach_nothing() {
        assert_eq!(ask(PUBLIC, "example.com.", RecordType::A), Answer::Forward);
        assert_eq!(
            ask(PUBLIC, "9.9.9.9.in-addr.arpa.", RecordType::PTR),
            Answer::Forward
        );
        let (code, _) = told(ask(DENY, "example.com.", RecordType::A));
        assert_eq!(code, ResponseCode::Refused);
        let (code, _) = told(ask(None, "db.sb.", RecordType::A));
        assert_eq!(code, ResponseCode::Refused);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let asker = Asker {
            user: &"usr_00000001".parse().unwrap(),
            mode: PUBLIC,
            range: Range::default(),
        };
        let no_question = Message::response(7, hickory_proto::op::OpCode::Query);
        for bytes in [&b"\0\x01"[..], &[0xff; 600], &no_question.to_vec().unwrap()] {
            assert_eq!(answer(bytes, &asker, &Two), Answer::Nothing);
        }
    }
}
