//! rattler's contender for locking: a minimal program with its gateway and its solver.

use std::path::Path;

use mlconda::{Subdir, host::Host};
use rattler_conda_types::{Channel, ChannelConfig, MatchSpec, ParseStrictness};
use rattler_repodata_gateway::Gateway;
use rattler_solve::{SolverImpl, SolverTask, resolvo};

use crate::{Outcome, client::client};

/// Solves for specs, with the repodata of a channel and a cache. Prints the number of packages in the solution.
pub(crate) fn lock(arguments: &[String]) -> Outcome<usize> {
    let [cache, channel, specs @ ..] = arguments else {
        return Err("--gateway CACHE CHANNEL SPEC…".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let channel = Channel::from_str(channel, &ChannelConfig::default_with_root_dir("/".into()))?;
    let specs: Vec<MatchSpec> =
        specs.iter().map(|spec| MatchSpec::from_str(spec, ParseStrictness::Lenient)).collect::<Result<_, _>>()?;
    let answer = runtime.block_on(async {
        let gateway = Gateway::builder().with_client(client()?).with_cache_dir(Path::new(cache)).finish();
        let query = gateway.query([channel], [Subdir::Linux64, Subdir::NoArch], specs.clone());
        Ok::<_, Box<dyn std::error::Error>>(query.recursive(true).await?)
    })?;
    let available = answer.repodata.iter().map(|subdir| subdir.iter_arc().map(AsRef::as_ref));
    let task = SolverTask {
        specs,
        virtual_packages: Host::baseline(Subdir::Linux64).virtual_packages,
        ..SolverTask::from_iter(available)
    };
    Ok(resolvo::Solver.solve(task)?.records.len())
}
