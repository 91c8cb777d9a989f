//! The vocabulary of the shop. Mail addresses use names that are reserved for examples (RFC 2606), so that none of them
//! is anybody's.

/// A country that the shop delivers to.
#[derive(Debug)]
pub(crate) struct Country {
    pub code: &'static str,
    pub weight: u64,
    /// Index into [`CURRENCIES`].
    pub currency: usize,
    /// City and the start of its postal codes; `#` is a digit and `@` a letter.
    pub cities: &'static [(&'static str, &'static str)],
}

/// A currency and its rate: euros for 10,000 units.
#[derive(Debug)]
pub(crate) struct Currency {
    pub code: &'static str,
    pub rate: i64,
}

pub(crate) const CURRENCIES: &[Currency] = &[
    Currency { code: "EUR", rate: 10_000 },
    Currency { code: "USD", rate: 9_200 },
    Currency { code: "GBP", rate: 11_700 },
    Currency { code: "CHF", rate: 10_500 },
    Currency { code: "SEK", rate: 880 },
    Currency { code: "PLN", rate: 2_320 },
];

pub(crate) const COUNTRIES: &[Country] = &[
    Country {
        code: "DE",
        weight: 300,
        currency: 0,
        cities: &[
            ("Berlin", "10###"),
            ("Dresden", "010##"),
            ("Hamburg", "20###"),
            ("Köln", "50###"),
            ("Leipzig", "041##"),
            ("München", "80###"),
        ],
    },
    Country {
        code: "NL",
        weight: 190,
        currency: 0,
        cities: &[("Amsterdam", "10## @@"), ("Groningen", "97## @@"), ("Rotterdam", "30## @@"), ("Utrecht", "35## @@")],
    },
    Country {
        code: "FR",
        weight: 120,
        currency: 0,
        cities: &[("Lyon", "6900#"), ("Marseille", "130##"), ("Nice", "06#00"), ("Paris", "750##")],
    },
    Country { code: "GB", weight: 100, currency: 2, cities: &[("Leeds", "LS# #@@"), ("London", "SW## #@@")] },
    Country { code: "US", weight: 80, currency: 1, cities: &[("Boston", "021##"), ("Chicago", "606##")] },
    Country { code: "BE", weight: 70, currency: 0, cities: &[("Antwerpen", "20##"), ("Bruxelles", "10##")] },
    Country { code: "AT", weight: 60, currency: 0, cities: &[("Graz", "80##"), ("Wien", "1##0")] },
    Country { code: "SE", weight: 30, currency: 4, cities: &[("Malmö", "21# ##"), ("Stockholm", "11# ##")] },
    Country { code: "CH", weight: 30, currency: 3, cities: &[("Basel", "40##"), ("Zürich", "80##")] },
    Country { code: "PL", weight: 20, currency: 5, cities: &[("Kraków", "30-###"), ("Łódź", "90-###")] },
];

/// A name, and how it is spelled in a mail address.
pub(crate) type Name = (&'static str, &'static str);

pub(crate) const FIRST_NAMES: &[Name] = &[
    ("Aisha", "aisha"),
    ("Anna", "anna"),
    ("Björn", "bjoern"),
    ("Camille", "camille"),
    ("Chloé", "chloe"),
    ("Daan", "daan"),
    ("Elif", "elif"),
    ("Emma", "emma"),
    ("Finn", "finn"),
    ("François", "francois"),
    ("Greta", "greta"),
    ("Hannah", "hannah"),
    ("Ines", "ines"),
    ("Jakub", "jakub"),
    ("James", "james"),
    ("Jürgen", "juergen"),
    ("Karim", "karim"),
    ("Lars", "lars"),
    ("Lotte", "lotte"),
    ("Łukasz", "lukasz"),
    ("Maria", "maria"),
    ("Mehmet", "mehmet"),
    ("Mia", "mia"),
    ("Noah", "noah"),
    ("Olivia", "olivia"),
    ("Paul", "paul"),
    ("Renée", "renee"),
    ("Sofie", "sofie"),
    ("Thomas", "thomas"),
    ("Wei", "wei"),
    ("Yusuf", "yusuf"),
    ("Zoë", "zoe"),
];

pub(crate) const LAST_NAMES: &[Name] = &[
    ("Andersson", "andersson"),
    ("Bakker", "bakker"),
    ("Bauer", "bauer"),
    ("Bernard", "bernard"),
    ("Chen", "chen"),
    ("de Vries", "devries"),
    ("Dubois", "dubois"),
    ("Evans", "evans"),
    ("Fischer", "fischer"),
    ("Garcia", "garcia"),
    ("Gruber", "gruber"),
    ("Hoffmann", "hoffmann"),
    ("Jansen", "jansen"),
    ("Johnson", "johnson"),
    ("Kaya", "kaya"),
    ("Kowalski", "kowalski"),
    ("Lefèvre", "lefevre"),
    ("Lindqvist", "lindqvist"),
    ("Martin", "martin"),
    ("Meyer", "meyer"),
    ("Müller", "mueller"),
    ("Nguyen", "nguyen"),
    ("Nowak", "nowak"),
    ("O'Brien", "obrien"),
    ("Peeters", "peeters"),
    ("Rossi", "rossi"),
    ("Schmidt", "schmidt"),
    ("Smit", "smit"),
    ("Smith", "smith"),
    ("van den Berg", "vandenberg"),
    ("Visser", "visser"),
    ("Weber", "weber"),
    ("Wójcik", "wojcik"),
    ("Yılmaz", "yilmaz"),
];

/// Mail providers, the first ones far more often.
pub(crate) const DOMAINS: &[&str] =
    &["example.com", "mail.example", "example.org", "post.example", "example.net", "work.example"];

/// A kind of goods: category, noun, prices in cents from and to, weight in grams.
#[derive(Debug)]
pub(crate) struct Goods {
    pub category: &'static str,
    pub noun: &'static str,
    pub price: (i64, i64),
    pub grams: (i64, i64),
}

const fn goods(category: &'static str, noun: &'static str, price: (i64, i64), grams: (i64, i64)) -> Goods {
    Goods { category, noun, price, grams }
}

pub(crate) const GOODS: &[Goods] = &[
    goods("kitchen", "Mug", (650, 2_400), (250, 480)),
    goods("kitchen", "Teapot", (1_900, 8_900), (600, 1_400)),
    goods("kitchen", "Chopping Board", (1_500, 6_900), (500, 2_200)),
    goods("kitchen", "Pan", (2_500, 14_900), (800, 2_900)),
    goods("home", "Desk Lamp", (2_900, 17_900), (900, 3_200)),
    goods("home", "Cushion", (1_200, 5_900), (300, 900)),
    goods("home", "Blanket", (2_400, 12_900), (700, 2_500)),
    goods("home", "Bookshelf", (5_900, 49_900), (9_000, 38_000)),
    goods("garden", "Watering Can", (1_400, 5_900), (500, 1_900)),
    goods("garden", "Planter", (900, 9_900), (700, 8_000)),
    goods("garden", "Bench", (8_900, 59_900), (12_000, 41_000)),
    goods("office", "Notebook", (350, 1_900), (150, 450)),
    goods("office", "Fountain Pen", (1_900, 24_900), (30, 90)),
    goods("office", "Chair", (9_900, 69_900), (7_000, 19_000)),
    goods("outdoor", "Backpack", (3_900, 21_900), (600, 2_100)),
    goods("outdoor", "Tent", (9_900, 64_900), (1_500, 6_500)),
    goods("outdoor", "Bottle", (900, 4_500), (120, 600)),
    goods("toys", "Puzzle", (800, 4_900), (300, 1_200)),
    goods("toys", "Train Set", (2_900, 18_900), (900, 4_000)),
    goods("toys", "Plush Bear", (1_100, 5_900), (150, 900)),
];

pub(crate) const MATERIALS: &[&str] = &[
    "Ash", "Bamboo", "Brass", "Ceramic", "Copper", "Cork", "Cotton", "Felt", "Glass", "Linen", "Oak", "Steel", "Wool",
];

pub(crate) const STYLES: &[&str] =
    &["Classic", "Compact", "Foldable", "Large", "Little", "Nordic", "Plain", "Round", "Slim", "Striped", "Vintage"];

pub(crate) const DEVICES: &[&str] = &["mobile", "desktop", "tablet", "app"];
pub(crate) const DEVICE_WEIGHTS: &[u64] = &[52, 31, 5, 12];
pub(crate) const REFERRERS: &[&str] = &["search", "newsletter", "social", "partner"];
pub(crate) const PAYMENT_METHODS: &[&str] = &["card", "wallet", "invoice", "transfer"];
pub(crate) const PAYMENT_WEIGHTS: &[u64] = &[46, 31, 15, 8];
pub(crate) const CHANNELS: &[&str] = &["web", "app", "marketplace", "phone"];
pub(crate) const CHANNEL_WEIGHTS: &[u64] = &[61, 24, 12, 3];
