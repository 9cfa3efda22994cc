//! The parts of a node that requests need: each handler and each extractor takes the one that it names.

use std::sync::Arc;

use axum::extract::FromRef;

use super::{
    body::BodyReader,
    context::ConnectionContext,
    http::{demo::DemoTokens, health::HealthSources},
    identity::Authenticator,
};
use crate::{
    cluster::Cluster,
    commands::{drafts::Drafts, topics::Topics},
    settings::RuntimeSettings,
    webhooks::Webhooks,
};

/// The state of the router. Clones share it.
#[derive(Clone)]
pub struct EdgeState(Arc<Parts>);

/// What the router is put together from.
pub(crate) struct Parts {
    pub(crate) context: Arc<ConnectionContext>,
    pub(crate) authenticator: Authenticator,
    pub(crate) bodies: BodyReader,
    pub(crate) demo: DemoTokens,
    pub(crate) health: Arc<HealthSources>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: Arc<RuntimeSettings>,
}

impl EdgeState {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn context(&self) -> &ConnectionContext {
        &self.0.context
    }
}

impl FromRef<EdgeState> for Arc<Drafts> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.context.drafts.clone()
    }
}

impl FromRef<EdgeState> for Arc<Topics> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.context.topics.clone()
    }
}

impl FromRef<EdgeState> for Arc<ConnectionContext> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.context.clone()
    }
}

impl FromRef<EdgeState> for Authenticator {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.authenticator.clone()
    }
}

impl FromRef<EdgeState> for BodyReader {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.bodies.clone()
    }
}

impl FromRef<EdgeState> for DemoTokens {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.demo.clone()
    }
}

impl FromRef<EdgeState> for Arc<Webhooks> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.webhooks.clone()
    }
}

impl FromRef<EdgeState> for Arc<RuntimeSettings> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.settings.clone()
    }
}

impl FromRef<EdgeState> for Arc<HealthSources> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.health.clone()
    }
}

impl FromRef<EdgeState> for Arc<Cluster> {
    fn from_ref(state: &EdgeState) -> Self {
        state.0.cluster.clone()
    }
}
