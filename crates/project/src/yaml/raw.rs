//! One definition for a raw form, its decoder and its JSON schema.

/// Defines the raw form of a mapping. Each field is a key, spelled once: the struct, the decoder, the strict list of
/// keys and the JSON schema with its descriptions all come from it. Reserved words take `r#`.
///
/// A field of type `Option` may be left out. `at` is the place of the mapping.
macro_rules! raw {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident: $ty:ty, )*
        }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        // Some keys are allowed only because dbt writes them.
        #[allow(dead_code)]
        pub(crate) struct $name {
            $( $(#[doc = $field_doc])* pub(crate) $field: $ty, )*
            #[schemars(skip)]
            pub(crate) at: polder_diag::Span,
        }

        impl $name {
            pub(crate) const KEYS: &'static [&'static str] =
                &[$( $crate::yaml::plain(stringify!($field)) ),*];
        }

        impl $crate::yaml::Decode for $name {
            fn decode(
                node: &$crate::yaml::Node,
                problems: &mut $crate::yaml::Problems<'_>,
            ) -> Option<Self> {
                let fields = $crate::yaml::Fields::of(node, Self::KEYS, problems)?;
                // All fields are read before the first that is wrong ends it: every problem is told.
                $( let $field = fields.take::<$ty>($crate::yaml::plain(stringify!($field)), problems); )*
                Some(Self { $( $field: $field?, )* at: problems.span(node.span.clone()) })
            }
        }
    )*};
}

pub(crate) use raw;

/// The name of a field without the `r#` of a reserved word.
pub(crate) const fn plain(field: &str) -> &str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}
