//! What each path names: a resource of the server's own, or plugins' routes.

use std::collections::BTreeMap;

use hyper::Method;
use matchit::Match;
use skep::Router;
use skep::http::Route;

/// The paths of a server.
pub(crate) struct Paths(matchit::Router<Target>);

/// What a path names.
pub(crate) enum Target {
    Own(Resource),
    /// The routes of one path, a method each.
    Plugins(Vec<PluginRoute>),
}

/// A plugin's route.
#[derive(Clone)]
pub(crate) struct PluginRoute {
    pub(crate) plugin: &'static str,
    pub(crate) route: Route,
}

/// A resource of the server's own.
#[derive(Clone, Copy)]
pub(crate) enum Resource {
    Jobs,
    Job,
    JobStream,
    Operations,
    Operation,
    Health,
    Livez,
    Readyz,
    Metrics,
}

/// Two things at one path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    #[error("the route {route:?} of plugin `{plugin}` is also plugin `{other}`'s")]
    Taken { route: Route, plugin: &'static str, other: &'static str },
    #[error("the route {route:?} of plugin `{plugin}` can't be served: {reason}")]
    Refused { route: Route, plugin: &'static str, reason: String },
}

impl Resource {
    const PATHS: [(&str, Self); 9] = [
        ("/v1/jobs", Self::Jobs),
        ("/v1/jobs/{id}", Self::Job),
        ("/v1/jobs/{id}/stream", Self::JobStream),
        ("/v1/operations", Self::Operations),
        ("/v1/operations/{id}", Self::Operation),
        ("/health", Self::Health),
        ("/livez", Self::Livez),
        ("/readyz", Self::Readyz),
        ("/metrics", Self::Metrics),
    ];

    /// The methods it has: the value of `Allow`.
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Jobs | Self::Operation => "GET, HEAD, POST",
            Self::Job => "GET, HEAD, DELETE",
            Self::JobStream => "GET",
            Self::Operations | Self::Health | Self::Livez | Self::Readyz | Self::Metrics => {
                "GET, HEAD"
            }
        }
    }
}

impl Paths {
    /// The server's own paths, and those of the plugins of `router`. No path is two things.
    pub(crate) fn new(router: &Router) -> Result<Self, PathError> {
        let mut paths = matchit::Router::new();
        for (path, resource) in Resource::PATHS {
            if let Err(error) = paths.insert(path, Target::Own(resource)) {
                unreachable!("the table above is fixed: {error}");
            }
        }
        let mut by_path: BTreeMap<&str, Vec<PluginRoute>> = BTreeMap::new();
        for (plugin, route) in router.routes() {
            let same = by_path.entry(route.path).or_default();
            if let Some(first) = same.iter().find(|first| first.route.method == route.method) {
                let (route, other) = (route.clone(), first.plugin);
                return Err(PathError::Taken { route, plugin, other });
            }
            same.push(PluginRoute { plugin, route: route.clone() });
        }
        for (path, routes) in by_path {
            let Some(PluginRoute { plugin, route }) = routes.first().cloned() else { continue };
            // `/v1/operations/echo` would hide the operation of that name.
            if paths.at(path).is_ok_and(|found| matches!(found.value, Target::Own(_))) {
                let reason = "it lies within the server's own paths".to_owned();
                return Err(PathError::Refused { route, plugin, reason });
            }
            paths.insert(path, Target::Plugins(routes)).map_err(|error| PathError::Refused {
                route,
                plugin,
                reason: error.to_string(),
            })?;
        }
        Ok(Self(paths))
    }

    /// What `path` names, with what stands in the places of its names.
    pub(crate) fn find<'p>(&self, path: &'p str) -> Option<Match<'_, 'p, &Target>> {
        self.0.at(path).ok()
    }
}

impl Target {
    /// The methods of `routes`: the value of `Allow`.
    pub(crate) fn allow(routes: &[PluginRoute]) -> String {
        let mut methods: Vec<_> = routes.iter().map(|one| one.route.method.as_str()).collect();
        if methods.contains(&Method::GET.as_str()) {
            methods.push(Method::HEAD.as_str());
        }
        methods.sort_unstable();
        methods.dedup();
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skep::Value;
    use skep::http::json;
    use skep::plugin::{Package, Plugin, PluginContext, PluginRegistration, Started};
    use skep::testing::TestServer;

    use super::*;

    struct Silent;

    impl Plugin for Silent {}

    /// A plugin that serves one path.
    fn start(path: &'static str) -> Started {
        let route = Route::new(Method::GET, path, async |_| Ok(json(&Value::Null)));
        Started::new(Arc::new(Silent), vec![]).with_route(route)
    }

    const fn plugin(name: &'static str, start: StartFn) -> PluginRegistration {
        PluginRegistration {
            name,
            summary: "",
            package: Package::new(name, "1.0.0"),
            after: &[],
            config_schema: || skep::json!({}),
            specs: Vec::new,
            start,
        }
    }

    type StartFn =
        fn(PluginContext<Value>) -> futures_util::future::BoxFuture<'static, skep::Result<Started>>;

    static ONE: PluginRegistration = plugin("one", |_| Box::pin(async { Ok(start("/v1/x/{id}")) }));
    static SAME: PluginRegistration =
        plugin("same", |_| Box::pin(async { Ok(start("/v1/x/{id}")) }));
    static LIKE: PluginRegistration =
        plugin("like", |_| Box::pin(async { Ok(start("/v1/x/{name}")) }));
    static CORE: PluginRegistration = plugin("core", |_| Box::pin(async { Ok(start("/v1/jobs")) }));
    static WITHIN: PluginRegistration =
        plugin("within", |_| Box::pin(async { Ok(start("/v1/operations/echo")) }));

    #[test]
    fn no_path_is_two_things() {
        for (plugins, says) in [
            (
                &[&ONE, &SAME][..],
                "the route GET /v1/x/{id} of plugin `same` is also plugin `one`'s",
            ),
            (&[&ONE, &LIKE], "the route GET /v1/x/{name} of plugin `like` can't be served: "),
            (&[&CORE], "the route GET /v1/jobs of plugin `core` can't be served: "),
            (&[&WITHIN], "the route GET /v1/operations/echo of plugin `within` can't be served: "),
        ] {
            let builder = TestServer::builder().empty();
            let server = plugins.iter().fold(builder, |builder, one| builder.plugin(one)).start();
            let error = Paths::new(&server.router()).err().unwrap().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
