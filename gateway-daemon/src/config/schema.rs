//! What a section of the file consists of, as data: the source of the reader's checks and of the sample file.

use super::problem::Located;

/// One section (TOML table) of the file.
#[derive(Debug)]
pub(super) struct Schema {
    /// The section's documentation, one line an element; the sample file opens with that of the whole file.
    pub(super) doc: &'static [&'static str],
    pub(super) fields: &'static [Field],
}

/// One field of a section.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The field's documentation, one line an element.
    pub(super) doc: &'static [&'static str],
    pub(super) kind: FieldKind,
    /// What can be written; sections have none.
    pub(super) form: Option<fn() -> String>,
}

/// What a field holds and what its absence means. The texts are TOML values.
#[derive(Debug)]
pub(super) enum FieldKind {
    /// Must be given; the sample shows this value.
    Required(&'static str),
    /// May be absent and then has no value; the sample shows this one.
    Optional(&'static str),
    /// May be absent and then has exactly this value.
    Defaulted(&'static str),
    /// `[section]`; absent means empty.
    Table(&'static Schema),
    /// `[section]` that may be absent as a whole.
    OptionalTable(&'static Schema),
    /// `[[section]]`, any number of times.
    Tables(&'static Schema),
}

impl Schema {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.fields.iter().map(|field| field.name)
    }

    /// The fields that must be given, with their example values.
    pub(super) fn required(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.fields.iter().filter_map(|field| match field.kind {
            FieldKind::Required(example) => Some((field.name, example)),
            _ => None,
        })
    }

    /// The headers of all sections that have a field `name`: `[[tenant.listener]]`.
    pub(super) fn homes_of(&self, name: &str) -> Vec<String> {
        let mut homes = Vec::new();
        self.collect_homes(name, &mut Vec::new(), &mut homes);
        homes
    }

    fn collect_homes(&self, name: &str, above: &mut Vec<&'static str>, homes: &mut Vec<String>) {
        for field in self.fields {
            let (schema, open, close) = match field.kind {
                FieldKind::Table(schema) | FieldKind::OptionalTable(schema) => (schema, "[", "]"),
                FieldKind::Tables(schema) => (schema, "[[", "]]"),
                _ => continue,
            };
            above.push(field.name);
            if schema.field(name).is_some() {
                homes.push(format!("{open}{}{close}", above.join(".")));
            }
            schema.collect_homes(name, above, homes);
            above.pop();
        }
    }
}

/// A field that must be given.
pub(super) type Required<T> = Located<T>;
/// A field that may be absent, and then has no value.
pub(super) type Optional<T> = Option<Located<T>>;
/// A field that may be absent, and then has the value that stands beside it.
pub(super) type Defaulted<T> = Located<T>;
/// A `[section]`.
pub(super) type Table<T> = T;
/// A `[section]` that may be absent as a whole.
pub(super) type OptionalTable<T> = Option<T>;
/// Any number of `[[section]]`.
pub(super) type Tables<T> = Vec<T>;

/// Declares a section of the file: a struct whose fields' doc comments are the operator's manual.
///
/// ```text
/// section! {
///     /// What the section is for.
///     struct Node {
///         /// Meaning, unit, limits.
///         id: Defaulted<NodeId> = 1,
///     }
/// }
/// ```
///
/// The type says what absence means ([`Required`], [`Optional`], [`Defaulted`], [`Table`], [`OptionalTable`],
/// [`Tables`]); the
/// value after `=` is the default or the sample's value, written as in TOML. From this come the struct, its
/// [`Schema`] with the doc comments as data, and the code that reads it.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident: $kind:ident<$ty:ty> $(= $text:expr)?, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub(super) struct $name {
            at: At,
            $( $(#[doc = $field_doc])* pub(super) $field: $kind<$ty>, )*
        }

        impl Section for $name {
            const SCHEMA: &'static Schema = &Schema {
                doc: &[$($doc),*],
                fields: &[$( Field {
                    name: stringify!($field),
                    doc: &[$($field_doc),*],
                    kind: section!(@kind $kind $ty $(, $text)?),
                    form: section!(@form $kind $ty),
                } ),*],
            };

            fn at(&self) -> &At {
                &self.at
            }

            fn read(reader: &mut Reader<'_, '_>) -> Result<Self, Reported> {
                // Every field is read before the first `?`, so that all faults are found.
                $( let $field = section!(@read reader $kind $field $(, $text)?); )*
                Ok(Self { at: reader.at().clone(), $( $field: $field?, )* })
            }
        }
    };

    (@kind Table $ty:ty) => { FieldKind::Table(<$ty as Section>::SCHEMA) };
    (@kind OptionalTable $ty:ty) => { FieldKind::OptionalTable(<$ty as Section>::SCHEMA) };
    (@kind Tables $ty:ty) => { FieldKind::Tables(<$ty as Section>::SCHEMA) };
    (@kind $kind:ident $ty:ty, $text:expr) => { FieldKind::$kind(stringify!($text)) };

    (@form Table $ty:ty) => { None };
    (@form OptionalTable $ty:ty) => { None };
    (@form Tables $ty:ty) => { None };
    (@form $kind:ident $ty:ty) => { Some(<$ty as FromToml>::form) };

    (@read $reader:ident Required $field:ident, $text:expr) => {
        $reader.required(stringify!($field), stringify!($text))
    };
    (@read $reader:ident Optional $field:ident, $text:expr) => { $reader.optional(stringify!($field)) };
    (@read $reader:ident Defaulted $field:ident, $text:expr) => {
        $reader.defaulted(stringify!($field), stringify!($text))
    };
    (@read $reader:ident Table $field:ident) => { $reader.table(stringify!($field)) };
    (@read $reader:ident OptionalTable $field:ident) => { $reader.optional_table(stringify!($field)) };
    (@read $reader:ident Tables $field:ident) => { $reader.tables(stringify!($field)) };
}

pub(super) use section;
