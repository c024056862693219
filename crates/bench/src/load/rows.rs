//! KvScan whose answer is counted instead of decoded.
//!
//! Building a thousand messages takes the client longer than it takes the server to find them, on the same
//! processors; what is measured is the server. Every byte of the answer is received, and its parts are told
//! apart: an answer that is an error is none. Must never: be used where values matter.

use std::io::BufRead;

use anyhow::ensure;
use grpcio::{
    CallOption, Client, ClientUnaryReceiver, Marshaller, MessageReader, Method, MethodType,
};
use kvproto::kvrpcpb::ScanRequest;
use protobuf::CodedInputStream;
use protobuf::ProtobufResult;
use protobuf::wire_format::WireType;

/// The fields of a `ScanResponse`.
const REGION_ERROR: u32 = 1;
const PAIRS: u32 = 2;
const ERROR: u32 = 3;

/// What an answer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pairs: u64,
    errors: u64,
}

impl Rows {
    /// The rows, unless the answer says something else.
    pub(crate) fn of_answer(self) -> anyhow::Result<u64> {
        ensure!(self.errors == 0, "KvScan was refused");
        ensure!(self.pairs > 0, "KvScan found nothing");
        Ok(self.pairs)
    }
}

const KV_SCAN: Method<ScanRequest, Rows> = Method {
    ty: MethodType::Unary,
    name: "/tikvpb.Tikv/KvScan",
    req_mar: Marshaller {
        ser: grpcio::pb_ser,
        de: grpcio::pb_de,
    },
    resp_mar: Marshaller {
        ser: |_, _| Ok(()),
        de: |mut answer: MessageReader| Ok(count(&mut answer)?),
    },
};

/// Sends a scan.
pub(crate) fn scan_rows(
    client: &Client,
    request: &ScanRequest,
) -> grpcio::Result<ClientUnaryReceiver<Rows>> {
    client.unary_call_async(&KV_SCAN, request, CallOption::default())
}

fn count(answer: &mut impl BufRead) -> ProtobufResult<Rows> {
    let mut rows = Rows::default();
    let mut fields = CodedInputStream::from_buffered_reader(answer);
    while !fields.eof()? {
        let (field, wire_type) = fields.read_tag_unpack()?;
        match field {
            PAIRS => rows.pairs += 1,
            REGION_ERROR | ERROR => rows.errors += 1,
            _ => {}
        }
        match wire_type {
            WireType::WireTypeLengthDelimited => {
                let length = fields.read_raw_varint32()?;
                fields.skip_raw_bytes(length)?;
            }
            other => fields.skip_field(other)?,
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use kvproto::kvrpcpb::{KvPair, ScanResponse};
    use protobuf::Message as _;

    use super::*;

    fn counted(answer: &ScanResponse) -> Rows {
        count(&mut answer.write_to_bytes().unwrap().as_slice()).unwrap()
    }

    #[test]
    fn rows_and_refusals_are_told_apart() {
        let mut answer = ScanResponse::default();
        assert!(counted(&answer).of_answer().is_err());
        for n in 0..1000 {
            let mut pair = KvPair::default();
            pair.set_key(vec![7; n]);
            pair.set_value(vec![8; 100]);
            answer.mut_pairs().push(pair);
        }
        assert_eq!(counted(&answer).of_answer().unwrap(), 1000);
        answer.mut_region_error().set_message("moved".into());
        assert!(counted(&answer).of_answer().is_err());
    }
}
