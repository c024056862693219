//! Finding the leader: asks endpoints for the members until one names a leader that answers.
//!
//! Every search dials anew, so that a restarted server is not left waiting behind the transport's
//! own reconnection delays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use grpcio::{CallOption, Channel, ChannelBuilder, Environment};
use kvproto::{keyspacepb, pdpb};
use security::Security;

use crate::config::dial_address;
use crate::{Error, Result};

/// The largest message either side may send; the placement driver allows as much.
const MESSAGE_BYTES_MAX: i32 = 128 << 20;

/// A channel to a leader, with what it said about its cluster.
pub(crate) struct Connection {
    /// Counts connections of one client, so that a failure is matched with the connection it
    /// happened on.
    pub(crate) generation: u64,
    /// The calls of the placement driver itself.
    pub(crate) pd: pdpb::PdClient,
    /// The calls for keyspaces.
    pub(crate) keyspace: keyspacepb::KeyspaceClient,
    /// What the leader answered when it was found.
    pub(crate) members: pdpb::GetMembersResponse,
}

impl Connection {
    fn new(generation: u64, channel: Channel, members: pdpb::GetMembersResponse) -> Connection {
        Connection {
            generation,
            pd: pdpb::PdClient::new(channel.clone()),
            keyspace: keyspacepb::KeyspaceClient::new(channel),
            members,
        }
    }

    /// The cluster of that leader.
    pub(crate) fn cluster_id(&self) -> u64 {
        self.members.get_header().get_cluster_id()
    }
}

/// Searches for leaders.
pub(crate) struct Connector {
    pub(crate) env: Arc<Environment>,
    /// Read at each dial, so that a search after a rotation shows the new certificate.
    pub(crate) security: Security,
    /// The endpoints of the settings.
    pub(crate) endpoints: Vec<String>,
    /// How long one endpoint may take to answer.
    pub(crate) timeout: Duration,
}

impl Connector {
    /// One round over the endpoints and the members known so far. `cluster_id` is what every one
    /// of them must belong to, once that is known.
    pub(crate) async fn find_leader(
        &self,
        known: &pdpb::GetMembersResponse,
        cluster_id: Option<u64>,
        generation: u64,
    ) -> Result<Connection> {
        let candidates = self.candidates(known);
        let mut last_problem = "nobody was asked".to_owned();
        for candidate in &candidates {
            match self.ask(candidate, cluster_id, generation).await? {
                Ok(connection) => return Ok(connection),
                Err(problem) => last_problem = problem,
            }
        }
        Err(Error::Unreachable {
            endpoints: candidates,
            detail: last_problem,
        })
    }

    /// The leader of last time first, then the endpoints of the settings, then other members.
    fn candidates(&self, known: &pdpb::GetMembersResponse) -> Vec<String> {
        let leader = known.get_leader().get_client_urls().iter();
        let members = known.get_members();
        let others = members.iter().flat_map(|member| member.get_client_urls());
        let mut seen = BTreeSet::new();
        leader
            .chain(&self.endpoints)
            .chain(others)
            .filter_map(|url| dial_address(url).ok())
            .filter(|address| seen.insert(*address))
            .map(str::to_owned)
            .collect()
    }

    /// Asks one address and follows it to the leader. The inner error is this address' problem
    /// only; the outer one ends the search.
    async fn ask(
        &self,
        address: &str,
        cluster_id: Option<u64>,
        generation: u64,
    ) -> Result<std::result::Result<Connection, String>> {
        let (channel, members) = match self.members_of(address, cluster_id).await? {
            Ok(answer) => answer,
            Err(problem) => return Ok(Err(problem)),
        };
        let leader = members.get_leader();
        if leader.get_client_urls().is_empty() {
            return Ok(Err(format!("{address} knows no leader")));
        }
        let mut problem = format!("the leader that {address} names has no usable url");
        for url in leader.get_client_urls() {
            let leader_address = match dial_address(url) {
                Ok(leader_address) => leader_address,
                Err(text) => {
                    problem = text;
                    continue;
                }
            };
            if leader_address == address {
                return Ok(Ok(Connection::new(generation, channel, members)));
            }
            let expected = Some(members.get_header().get_cluster_id());
            match self.members_of(leader_address, expected).await? {
                Ok((channel, answer))
                    if answer.get_leader().get_member_id() == leader.get_member_id() =>
                {
                    return Ok(Ok(Connection::new(generation, channel, answer)));
                }
                Ok(_) => problem = format!("{leader_address} is leader no more"),
                Err(text) => problem = text,
            }
        }
        Ok(Err(problem))
    }

    async fn members_of(
        &self,
        address: &str,
        cluster_id: Option<u64>,
    ) -> Result<std::result::Result<(Channel, pdpb::GetMembersResponse), String>> {
        let channel = self.dial(address);
        let client = pdpb::PdClient::new(channel.clone());
        let options = CallOption::default().timeout(self.timeout);
        let call = client.get_members_async_opt(&pdpb::GetMembersRequest::default(), options);
        let answer = match call {
            Ok(receiver) => receiver.await,
            Err(error) => Err(error),
        };
        let members = match answer {
            Ok(members) => members,
            Err(error) => return Ok(Err(format!("{address}: {error}"))),
        };
        if members.get_header().has_error() {
            let text = members.get_header().get_error().get_message();
            return Ok(Err(format!("{address}: {text}")));
        }
        let got = members.get_header().get_cluster_id();
        if got == 0 {
            return Ok(Err(format!("{address} has no cluster id yet")));
        }
        match cluster_id {
            Some(expected) if expected != got => Err(Error::ClusterIdMismatch {
                endpoint: address.to_owned(),
                expected,
                got,
            }),
            _ => Ok(Ok((channel, members))),
        }
    }

    fn dial(&self, address: &str) -> Channel {
        let builder = ChannelBuilder::new(Arc::clone(&self.env))
            .max_send_message_len(MESSAGE_BYTES_MAX)
            .max_receive_message_len(MESSAGE_BYTES_MAX)
            .keepalive_time(Duration::from_secs(10))
            .keepalive_timeout(Duration::from_secs(3))
            .use_local_subchannel_pool(true);
        self.security.channel(builder, address)
    }
}
