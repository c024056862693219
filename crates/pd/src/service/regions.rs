//! The calls about regions: where keys are, splits, scattering.
//!
//! Regions are not orchestrated yet: nobody is told to move or split one. Scattering is granted at
//! once, because with one copy of everything every region is where it belongs, and no region ever
//! has an operator.

use kvproto::metapb;
use kvproto::pdpb::{
    self, AskBatchSplitRequest, AskBatchSplitResponse, AskSplitRequest, AskSplitResponse,
    BatchScanRegionsRequest, BatchScanRegionsResponse, GetOperatorRequest, GetOperatorResponse,
    GetRegionByIDRequest, GetRegionRequest, GetRegionResponse, QueryRegionRequest,
    QueryRegionResponse, RegionResponse, ReportBatchSplitRequest, ReportBatchSplitResponse,
    ReportSplitRequest, ReportSplitResponse, ScanRegionsRequest, ScanRegionsResponse,
    ScatterRegionRequest, ScatterRegionResponse, SplitID,
};

use super::Service;
use crate::regions::{Coverage, RegionInfo};
use crate::state::{PdState, check_split_regions};
use crate::{Error, Result};

/// Where keys are.
impl Service {
    pub(super) async fn region(&self, req: GetRegionRequest) -> Result<GetRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            Ok(region_response(state.regions().find(req.get_region_key())))
        })
    }

    pub(super) async fn previous_region(&self, req: GetRegionRequest) -> Result<GetRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let previous = state.regions().find_previous(req.get_region_key());
            Ok(region_response(previous))
        })
    }

    pub(super) async fn region_by_id(
        &self,
        req: GetRegionByIDRequest,
    ) -> Result<GetRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            Ok(region_response(state.regions().get(req.get_region_id())))
        })
    }

    pub(super) async fn regions(&self, req: ScanRegionsRequest) -> Result<ScanRegionsResponse> {
        self.shared.check_header(req.get_header())?;
        let limit = limit_of(req.get_limit());
        self.shared.cluster.read_bootstrapped(|state| {
            let mut response = ScanRegionsResponse::default();
            let found = state.regions().scan(req.get_start_key(), req.get_end_key());
            for info in found.take(limit) {
                let region = region_message(info);
                response.mut_region_metas().push(info.region.clone());
                response.mut_leaders().push(region.get_leader().clone());
                response.mut_regions().push(region);
            }
            Ok(response)
        })
    }

    pub(super) async fn region_ranges(
        &self,
        req: BatchScanRegionsRequest,
    ) -> Result<BatchScanRegionsResponse> {
        self.shared.check_header(req.get_header())?;
        let limit = limit_of(req.get_limit());
        let coverage = if req.get_contain_all_key_range() {
            Coverage::Whole
        } else {
            Coverage::Any
        };
        self.shared.cluster.read_bootstrapped(|state| {
            let ranges = req.get_ranges().iter();
            let ranges = ranges.map(|range| (range.get_start_key(), range.get_end_key()));
            let found = state.regions().scan_ranges(ranges, limit, coverage)?;
            let mut response = BatchScanRegionsResponse::default();
            response.set_regions(found.into_iter().map(region_message).collect());
            Ok(response)
        })
    }

    /// One request of the stream that asks for many regions at once.
    pub(super) fn query_regions(&self, req: &QueryRegionRequest) -> Result<QueryRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let regions = state.regions();
            let mut response = QueryRegionResponse::default();
            let mut add = |info: Option<&RegionInfo>| {
                let Some(info) = info else {
                    return 0;
                };
                let id = info.region.get_id();
                let found = response.mut_regions_by_id();
                found.entry(id).or_insert_with(|| query_message(info));
                id
            };
            let by_key: Vec<u64> = req
                .get_keys()
                .iter()
                .map(|key| add(regions.find(key)))
                .collect();
            let by_next_key: Vec<u64> = req
                .get_prev_keys()
                .iter()
                .map(|key| add(regions.find_previous(key)))
                .collect();
            for id in req.get_ids() {
                add(regions.get(*id));
            }
            response.set_key_id_map(by_key);
            response.set_prev_key_id_map(by_next_key);
            Ok(response)
        })
    }
}

/// Splits.
impl Service {
    pub(super) async fn split_ids(
        &self,
        mut req: AskBatchSplitRequest,
    ) -> Result<AskBatchSplitResponse> {
        self.shared.check_header(req.get_header())?;
        let region = req.has_region().then(|| req.take_region());
        let ids = self.plan_split(region, req.get_split_count()).await?;
        let mut response = AskBatchSplitResponse::default();
        response.set_ids(ids.into());
        Ok(response)
    }

    pub(super) async fn one_split_ids(&self, mut req: AskSplitRequest) -> Result<AskSplitResponse> {
        self.shared.check_header(req.get_header())?;
        let region = req.has_region().then(|| req.take_region());
        let mut response = AskSplitResponse::default();
        for mut id in self.plan_split(region, 1).await? {
            response.set_new_region_id(id.get_new_region_id());
            response.set_new_peer_ids(id.take_new_peer_ids());
        }
        Ok(response)
    }

    async fn plan_split(&self, region: Option<metapb::Region>, count: u32) -> Result<Vec<SplitID>> {
        let plan = move |state: &PdState| {
            state.check_bootstrapped()?;
            let missing = || Error::RegionNotFound("missing region for split".to_owned());
            state.plan_split(&region.ok_or_else(missing)?, count)
        };
        self.shared.cluster.mutate(plan).await
    }

    /// Only checked: the leaders' heartbeats bring the regions in.
    pub(super) async fn split_done(
        &self,
        req: ReportBatchSplitRequest,
    ) -> Result<ReportBatchSplitResponse> {
        self.shared.check_header(req.get_header())?;
        self.check_split(req.get_regions())?;
        Ok(ReportBatchSplitResponse::default())
    }

    /// Only checked, too.
    pub(super) async fn one_split_done(
        &self,
        mut req: ReportSplitRequest,
    ) -> Result<ReportSplitResponse> {
        self.shared.check_header(req.get_header())?;
        self.check_split(&[req.take_left(), req.take_right()])?;
        Ok(ReportSplitResponse::default())
    }

    fn check_split(&self, regions: &[metapb::Region]) -> Result<()> {
        self.shared.cluster.read_bootstrapped(|_| {
            check_split_regions(regions)?;
            tracing::info!(regions = regions.len(), "region split reported");
            Ok(())
        })
    }
}

/// Scattering.
impl Service {
    /// The list form tells which regions are not known; the old form is about a single one, which
    /// the caller may describe before its leader has reported it.
    pub(super) async fn scatter(&self, req: ScatterRegionRequest) -> Result<ScatterRegionResponse> {
        self.shared.check_header(req.get_header())?;
        self.shared.cluster.read_bootstrapped(|state| {
            let regions = state.regions();
            let mut response = ScatterRegionResponse::default();
            let asked = req.get_regions_id();
            if asked.is_empty() {
                let region_id = req.get_region_id();
                if regions.get(region_id).is_none() && !req.has_region() {
                    return Err(Error::RegionNotFound(format!(
                        "region {region_id} not found"
                    )));
                }
                response.set_finished_percentage(100);
                return Ok(response);
            }
            let unknown = asked.iter().filter(|id| regions.get(**id).is_none());
            let failed: Vec<u64> = unknown.copied().collect();
            let done = asked.len() - failed.len();
            // A message has far fewer ids than would overflow this.
            let percentage = done * 100 / asked.len();
            response.set_finished_percentage(percentage.try_into().unwrap_or_default());
            response.set_failed_regions_id(failed);
            Ok(response)
        })
    }

    /// There are no operators, and clients take that for finished ones.
    pub(super) async fn operator(&self, req: GetOperatorRequest) -> Result<GetOperatorResponse> {
        self.shared.check_header(req.get_header())?;
        let cluster = &self.shared.cluster;
        cluster.read_bootstrapped(|_| Err(Error::RegionNotFound("Not Found".to_owned())))
    }
}

/// Limits of 0 and below are none.
fn limit_of(limit: i32) -> usize {
    match usize::try_from(limit) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    }
}

fn region_message(info: &RegionInfo) -> pdpb::Region {
    let mut region = pdpb::Region::default();
    region.set_region(info.region.clone());
    // An unknown leader is an empty peer: lists of leaders are parallel to those of regions.
    region.set_leader(info.known_leader().cloned().unwrap_or_default());
    region.set_down_peers(info.down_peers.clone().into());
    region.set_pending_peers(info.pending_peers.clone().into());
    region
}

fn query_message(info: &RegionInfo) -> RegionResponse {
    let mut region = RegionResponse::default();
    region.set_region(info.region.clone());
    if let Some(leader) = info.known_leader() {
        region.set_leader(leader.clone());
    }
    region.set_down_peers(info.down_peers.clone().into());
    region.set_pending_peers(info.pending_peers.clone().into());
    region
}

/// No region is no error: clients try again.
fn region_response(info: Option<&RegionInfo>) -> GetRegionResponse {
    let mut response = GetRegionResponse::default();
    if let Some(info) = info {
        response.set_region(info.region.clone());
        if let Some(leader) = info.known_leader() {
            response.set_leader(leader.clone());
        }
        response.set_down_peers(info.down_peers.clone().into());
        response.set_pending_peers(info.pending_peers.clone().into());
    }
    response
}
