//! What a decoded message takes is known before it is decoded.

use kvproto::bounded::{DECODED_MAX, PART, cost, cost_of, fits, parse};
use kvproto::kvrpcpb::{BatchGetRequest, Mutation, PrewriteRequest};
use kvproto::tikvpb::{BatchCommandsRequest, BatchCommandsRequest_Request};
use protobuf::Message;

const PREWRITE: &str = "kvrpcpb.PrewriteRequest";

fn of<M: Message>() -> u64 {
    cost_of(M::descriptor_static().full_name()).unwrap()
}

#[test]
fn parts_are_counted_at_every_level() {
    let mut get = BatchGetRequest::default();
    for _ in 0..10 {
        get.mut_keys().push(vec![b'k'; 7]);
    }
    let bytes = get.write_to_bytes().unwrap();
    assert_eq!(cost("kvrpcpb.BatchGetRequest", &bytes), 10 * (PART + 7));

    let mut prewrite = PrewriteRequest::default();
    for _ in 0..10 {
        let mut mutation = Mutation::default();
        mutation.set_key(vec![b'k'; 7]);
        prewrite.mut_mutations().push(mutation);
    }
    let mutations = 10 * (of::<Mutation>() + PART + 7);
    let bytes = prewrite.write_to_bytes().unwrap();
    assert_eq!(cost(PREWRITE, &bytes), mutations);

    let mut batch = BatchCommandsRequest::default();
    let mut request = BatchCommandsRequest_Request::default();
    request.set_Prewrite(prewrite);
    batch.mut_requests().push(request);
    let bytes = batch.write_to_bytes().unwrap();
    let whole = of::<BatchCommandsRequest_Request>() + of::<PrewriteRequest>() + mutations;
    assert_eq!(cost("tikvpb.BatchCommandsRequest", &bytes), whole);
}

/// What is charged for a message is no less than what it takes, and not absurdly more.
#[test]
fn a_message_costs_what_its_struct_takes() {
    fn check<M: Message + Default>() {
        let name = M::descriptor_static().full_name();
        let (cost, size) = (of::<M>(), size_of::<M>() as u64);
        assert!(cost >= 2 * size, "{name} takes {size} and costs {cost}");
        assert!(cost <= 8 * size, "{name} takes {size} and costs {cost}");
    }
    check::<BatchCommandsRequest_Request>();
    check::<BatchCommandsRequest>();
    check::<PrewriteRequest>();
    check::<Mutation>();
    check::<kvproto::kvrpcpb::Context>();
    check::<kvproto::kvrpcpb::LockInfo>();
    check::<kvproto::kvrpcpb::KeyRange>();
    check::<kvproto::metapb::Region>();
    check::<kvproto::metapb::Peer>();
    check::<kvproto::pdpb::PeerStat>();
    check::<kvproto::pdpb::StoreStats>();
    check::<kvproto::pdpb::RegionHeartbeatRequest>();
    check::<kvproto::pdpb::KeyRange>();
    check::<kvproto::etcdserverpb::Compare>();
    check::<kvproto::etcdserverpb::RequestOp>();
    check::<kvproto::etcdserverpb::TxnRequest>();
    check::<kvproto::resource_manager::TokenBucketRequest>();
    check::<kvproto::eraftpb::Entry>();
}

#[test]
fn a_bomb_does_not_fit() {
    // A million empty mutations in two megabytes.
    let bytes = [0x12, 0x00].repeat(1 << 20);
    assert_eq!(cost(PREWRITE, &[0x12, 0x00]), of::<Mutation>());
    assert!(!fits(PREWRITE, &bytes, DECODED_MAX));
    let refused = parse::<PrewriteRequest>(&bytes).unwrap_err().to_string();
    assert!(refused.contains("too many parts"), "{refused}");
    // Empty requests of a batch are the largest elements of all.
    let bytes = [0x0a, 0x00].repeat(100_000);
    assert!(!fits("tikvpb.BatchCommandsRequest", &bytes, DECODED_MAX));
    // The same as text of an unknown field.
    let bytes = [0xfa, 0x0f, 0x00].repeat(1 << 20);
    assert!(!fits(PREWRITE, &bytes, DECODED_MAX));
    let bytes = [0xf8, 0x0f, 0x00].repeat(8 << 20);
    assert!(!fits(PREWRITE, &bytes, DECODED_MAX));
}

#[test]
fn what_is_malformed_is_left_to_the_decoder() {
    for bytes in [
        &[0xff; 20][..],
        &[0x12, 0x05, 0x00],
        &[0x12],
        &[0x0b],
        &[0x0f],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        assert!(fits(PREWRITE, bytes, 1 << 20), "{bytes:02x?}");
    }
    assert!(fits("no.such.Message", &[0x12, 0x00], 1 << 10));
}

/// What the walk takes for an error, and the decoder does not, is a place to hide a bomb.
#[test]
fn no_bomb_hides_where_the_decoder_still_reads() {
    const BATCH: &str = "tikvpb.BatchCommandsRequest";
    let bomb = [0x0a, 0x00].repeat(1 << 20);
    let behind = |before: &[u8]| [before, &bomb].concat();
    let refused = |what: &str, bytes: &[u8]| {
        let outcome = parse::<BatchCommandsRequest>(bytes);
        assert!(outcome.is_err(), "{what} was decoded");
    };
    // A request that claims two gigabytes: whatever follows is in it.
    refused("a claim", &behind(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07]));
    // A group with something in it that would be no message.
    let group = [0xfb, 0x01, 0x0a, 0x01, 0xff, 0xfc, 0x01];
    assert!(!fits(BATCH, &behind(&group), DECODED_MAX));
    // Tags and lengths with bits above those that the decoder looks at.
    let wide_tag = [0x8a, 0x80, 0x80, 0x80, 0x10, 0x00].repeat(1 << 20);
    assert!(!fits(BATCH, &wide_tag, DECODED_MAX));
    let wide_length = [0xfa, 0x01, 0x81, 0x80, 0x80, 0x80, 0x10, 0x00];
    assert!(parse::<BatchCommandsRequest>(&wide_length).is_ok());
    assert!(!fits(BATCH, &behind(&wide_length), DECODED_MAX));
    // Numbers of one byte each, which take eight.
    let ids = 16 << 20u32;
    let mut packed = vec![0x12];
    packed.extend([0x80, 0x80, 0x80, 0x08]);
    packed.resize(packed.len() + ids as usize, 1);
    assert!(!fits(BATCH, &packed, DECODED_MAX));
    // Many fields that nobody knows, each of which gets a table of its own.
    let mut unknown = Vec::new();
    for number in 1_000_000..1_300_000u32 {
        let tag = u64::from(number) << 3;
        unknown.extend([0, 7, 14, 21].map(|shift| (tag >> shift) as u8 | 0x80));
        *unknown.last_mut().unwrap() &= 0x7f;
        unknown.push(0);
    }
    assert!(!fits(BATCH, &unknown, DECODED_MAX));
}

/// The decoder reserves what a packed list of fixed-size numbers claims before it looks; so there is none.
#[test]
fn no_list_of_fixed_size_numbers_exists() {
    use protobuf::descriptor::{FieldDescriptorProto_Label, FieldDescriptorProto_Type as Type};

    fn check(message: &protobuf::descriptor::DescriptorProto) {
        const FIXED: [Type; 6] = [
            Type::TYPE_DOUBLE,
            Type::TYPE_FLOAT,
            Type::TYPE_FIXED32,
            Type::TYPE_FIXED64,
            Type::TYPE_SFIXED32,
            Type::TYPE_SFIXED64,
        ];
        for field in message.get_field() {
            let is_list = field.get_label() == FieldDescriptorProto_Label::LABEL_REPEATED;
            let is_fixed = FIXED.contains(&field.get_field_type());
            let name = (message.get_name(), field.get_name());
            assert!(!(is_list && is_fixed), "{name:?}");
        }
        message.get_nested_type().iter().for_each(check);
    }
    for file in crate::ours().get_file() {
        file.get_message_type().iter().for_each(check);
    }
}
