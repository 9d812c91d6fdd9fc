//! Texts and specs become IDs, and each is resolved once: to the records that match it, its extras and its condition.

use std::cell::OnceCell;

use mlconda_types::dependency::{PlainSpec, parse_plain};
use rattler_conda_types::{MatchSpec, MatchSpecCondition, Matches, NamelessMatchSpec, RepoDataRecord, VersionSpec};
use resolvo::{Condition, ConditionId, LogicalOperator, VersionSetId};

use super::{
    InternedSpec, NameId, Pool, PoolName, RecordId, RecordSet, ResolvedSpec, SpecId, SpecOrigin,
    parse::{alternatives, parse},
};

/// The most alternatives of a condition. The solver writes each of them out, and `(a or b) and (a or b) and …` doubles
/// them with each pair of parentheses.
const MAX_ALTERNATIVES: usize = 1000;

impl<'a> Pool<'a> {
    /// The ID of a name, which is added if it is new.
    pub(crate) fn intern_name(&mut self, text: &str) -> NameId {
        if let Some(known) = self.ids.get(text) {
            return *known;
        }
        let id = self.add_name(text.to_owned(), false);
        self.ids.insert(text.to_owned(), id);
        id
    }

    fn add_name(&mut self, text: String, is_extra: bool) -> NameId {
        self.names.push(PoolName {
            text,
            is_extra,
            record_ids: RecordSet::default(),
            version_groups: RecordSet::default(),
            sorted: OnceCell::new(),
        });
        (self.names.len() - 1) as NameId
    }

    /// Interns a spec of an environment. The caller checks its channel and subdir.
    pub(crate) fn intern_spec(&mut self, spec: &MatchSpec) -> SpecId {
        if let Some(known) = self.specs.get(spec) {
            return *known;
        }
        let resolved = self.resolve_match_spec(spec.clone());
        let origin = SpecOrigin::Spec(Box::new(spec.clone().into_nameless().1));
        let id = self.push_spec(InternedSpec { origin, resolved: resolved.into() });
        self.specs.insert(spec.clone(), id);
        id
    }

    fn push_spec(&mut self, spec: InternedSpec<'a>) -> SpecId {
        self.interned.push(spec);
        (self.interned.len() - 1) as SpecId
    }

    /// Interns the text of a spec, without parsing it.
    pub(super) fn intern_text(&mut self, text: &'a str) -> SpecId {
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let id = self.push_spec(InternedSpec { origin: SpecOrigin::Text(text), resolved: OnceCell::new() });
        self.texts.insert(text, id);
        id
    }

    /// Resolves the dependencies of a record's extras, if it has any.
    pub(crate) fn resolve_extras_of(&mut self, record_id: RecordId) {
        if self.row(record_id).has_extras && !self.extra_specs.contains_key(&record_id) {
            self.resolve_extras(record_id);
        }
    }

    fn resolve_extras(&mut self, record_id: RecordId) {
        let record = &self.record(record_id).package_record;
        let mut extras = Vec::new();
        for (extra, texts) in &record.extra_depends {
            let resolved = self.intern_extra(record.name.as_normalized(), extra);
            let with_extra = self.add_condition(Condition::Requirement(VersionSetId(resolved)));
            for text in texts {
                let id = self.intern_text(text);
                let own = self.resolve(id).and_then(|resolved| resolved.condition);
                extras.push((own.map_or(with_extra, |own| self.and_condition(with_extra, own)), id));
            }
        }
        self.extra_specs.insert(record_id, extras);
    }

    /// Resolves a spec; `None` if it cannot be parsed.
    pub(crate) fn resolve(&mut self, id: SpecId) -> Option<&ResolvedSpec> {
        if self.interned[id as usize].resolved.get().is_none()
            && let SpecOrigin::Text(text) = self.interned[id as usize].origin
        {
            let resolved = match parse_plain(text) {
                Some(plain) => Ok(self.resolve_plain(&plain)),
                None => parse(text).and_then(|spec| self.resolve_match_spec(spec)),
            };
            // It was empty above, and nothing else sets it.
            _ = self.interned[id as usize].resolved.set(resolved);
        }
        self.resolved(id)
    }

    fn resolve_match_spec(&mut self, spec: MatchSpec) -> Result<ResolvedSpec, String> {
        let (name, mut spec) = spec.into_nameless();
        let package = name.as_exact().ok_or("it has no exact name")?.as_normalized();
        let name = self.intern_name(package);
        if spec.condition.as_ref().is_some_and(|condition| alternatives(condition) > MAX_ALTERNATIVES) {
            return Err("its condition has too many alternatives".to_owned());
        }
        let condition = spec.condition.as_ref().map(|condition| self.intern_condition(condition)).transpose()?;
        let extras = spec.extras.iter().flatten().map(|extra| self.intern_extra(package, extra)).collect();
        let (version, rest) = (spec.version.take().filter(|wanted| *wanted != VersionSpec::Any), spec);
        let rest =
            (rest != NamelessMatchSpec::default()).then_some(move |record: &RepoDataRecord| rest.matches(record));
        let record_ids = self.matching(name, version.as_ref(), rest);
        Ok(ResolvedSpec { name, record_ids, extras, condition })
    }

    fn resolve_plain(&mut self, plain: &PlainSpec<'_>) -> ResolvedSpec {
        let name = self.intern_name(plain.name);
        let rest = plain.build.map(|build| move |record: &RepoDataRecord| record.package_record.build == build);
        let record_ids = self.matching(name, Some(&plain.version), rest);
        ResolvedSpec { name, record_ids, extras: Vec::new(), condition: None }
    }

    /// Interns an extra of a package.
    fn intern_extra(&mut self, package: &str, extra: &str) -> SpecId {
        let text = format!("{package}[{extra}]");
        if let Some(known) = self.extras.get(&text) {
            return *known;
        }
        let name = self.add_name(text.clone(), true);
        let resolved = ResolvedSpec { name, record_ids: RecordSet::default(), extras: Vec::new(), condition: None };
        let id = self.push_spec(InternedSpec { origin: SpecOrigin::Extra, resolved: Ok(resolved).into() });
        self.extras.insert(text, id);
        id
    }

    fn and_condition(&mut self, one: ConditionId, other: ConditionId) -> ConditionId {
        self.add_condition(Condition::Binary(LogicalOperator::And, one, other))
    }

    fn add_condition(&mut self, condition: Condition) -> ConditionId {
        if let Some(known) = self.condition_ids.get(&condition) {
            return *known;
        }
        let id = ConditionId::new(self.conditions.len() as u32);
        self.conditions.push(condition.clone());
        self.condition_ids.insert(condition, id);
        id
    }

    /// Whether any resolved spec has a condition or extras.
    pub(crate) fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    pub(crate) fn condition(&self, condition: ConditionId) -> Condition {
        self.conditions[condition.as_u32() as usize].clone()
    }

    fn intern_condition(&mut self, condition: &MatchSpecCondition) -> Result<ConditionId, String> {
        let (operator, one, other) = match condition {
            MatchSpecCondition::MatchSpec(spec) if spec.condition.is_some() => {
                return Err("a condition has a condition".to_owned());
            }
            MatchSpecCondition::MatchSpec(spec) => {
                let id = self.intern_spec(spec);
                let resolved = self.resolved(id).ok_or("its condition makes no sense")?;
                let extras = resolved.extras.clone();
                let mut all = self.add_condition(Condition::Requirement(VersionSetId(id)));
                for extra in extras {
                    let extra = self.add_condition(Condition::Requirement(VersionSetId(extra)));
                    all = self.and_condition(extra, all);
                }
                return Ok(all);
            }
            MatchSpecCondition::And(one, other) => (LogicalOperator::And, one, other),
            MatchSpecCondition::Or(one, other) => (LogicalOperator::Or, one, other),
        };
        let (one, other) = (self.intern_condition(one)?, self.intern_condition(other)?);
        Ok(self.add_condition(Condition::Binary(operator, one, other)))
    }
}
