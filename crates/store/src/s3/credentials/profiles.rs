//! `~/.aws/config` and `~/.aws/credentials`.

use std::collections::BTreeMap;

use reqsign_core::Context;

/// The keys of a section.
pub(super) type Section = BTreeMap<String, String>;

/// All profiles and sessions of the two files. What `credentials` says wins.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    profiles: BTreeMap<String, Section>,
    sessions: BTreeMap<String, Section>,
}

impl Profiles {
    /// Reads the files; one that is not there holds nothing.
    pub(super) async fn read(context: &Context) -> Self {
        let mut all = Self::default();
        let files = [("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")];
        for (variable, usual) in files {
            let path = context.env_var(variable).filter(|path| !path.is_empty()).unwrap_or_else(|| usual.to_owned());
            let Some(path) = context.expand_home_dir(&path) else { continue };
            match context.file_read_as_string(&path).await {
                Ok(text) => all.add(&text, variable == "AWS_CONFIG_FILE"),
                Err(error) => tracing::debug!(%path, %error, "no profiles from here"),
            }
        }
        all
    }

    pub(super) fn get(&self, profile: &str) -> Option<&Section> {
        self.profiles.get(profile)
    }

    /// A session of single sign-on, which several profiles may share.
    pub(super) fn session(&self, name: &str) -> Option<&Section> {
        self.sessions.get(name)
    }

    fn add(&mut self, text: &str, is_config: bool) {
        for (heading, section) in sections(text) {
            let (kind, name) = heading.split_once(char::is_whitespace).unwrap_or(("", &heading));
            let name = name.trim().trim_matches('"');
            match (is_config, kind) {
                (true, "sso-session") => self.sessions.entry(name.to_owned()).or_default().extend(section),
                (true, "profile") => self.profiles.entry(name.to_owned()).or_default().extend(section),
                (true, "") if name != "default" => {}
                (_, "") => self.profiles.entry(name.to_owned()).or_default().extend(section),
                _ => {}
            }
        }
    }
}

/// The sections of an INI file by heading. Lines that are indented below a key without a value belong to that key, and
/// hold nothing that is asked for here.
fn sections(text: &str) -> Vec<(String, Section)> {
    let mut all: Vec<(String, Section)> = Vec::new();
    let mut nested = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            all.push((heading.trim().to_owned(), Section::new()));
            nested = None;
            continue;
        }
        if nested.is_some_and(|outer| indent > outer) {
            continue;
        }
        let (Some((_, section)), Some((key, value))) = (all.last_mut(), line.split_once('=')) else { continue };
        let value = value.split(" #").next().unwrap_or(value).trim();
        nested = value.is_empty().then_some(indent);
        section.insert(key.trim().to_lowercase(), value.to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_keys() {
        let mut profiles = Profiles::default();
        profiles.add(
            "[default]\nregion = eu-central-1 # near\ns3 =\n  addressing_style = path\noutput=json\n\
             [profile \"my lake\"]\nrole_arn=a=b\n[sso-session corp]\nsso_region = eu-west-1\n[stray]\nx = 1\n",
            true,
        );
        profiles.add("[default]\naws_access_key_id = AKIA\n[other]\naws_access_key_id=B\n", false);
        let default = profiles.get("default").unwrap();
        let keys: Vec<_> = default.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(keys, ["aws_access_key_id=AKIA", "output=json", "region=eu-central-1", "s3="]);
        assert_eq!(profiles.get("my lake").unwrap()["role_arn"], "a=b");
        assert_eq!(profiles.session("corp").unwrap()["sso_region"], "eu-west-1");
        assert!(profiles.get("stray").is_none() && profiles.get("other").is_some());
    }
}
