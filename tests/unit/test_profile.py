"""The profile model: what a TOML file may say, and how it is told what is wrong."""

import pytest

from schemas.errors import ProfileError
from schemas.profile import CANONICAL, SCHEMES, ColumnsSection, Profile

LEAST = 'name = "x"\ncountry = "NO"\n'
USER = '[columns]\nuser = "Kundenr"\n'

DESIGN = """
name = "nordkraft"
country = "NO"
[export]
kind = "full"
[file]
match = "kunder-*.csv*"
format = "csv"
encoding = "utf-8"
separator = ";"
decimal = ","
multiline = ["Adresse"]
[identity]
ids = "hmac"
[columns]
user = "Kundenr"
location = "Anlegg"
location_type = "Kundetype"
meter_point = "MålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
resource = "EnhetID"
resource_type = "Enhetstype"
status = "Status"
[meter_point]
scheme = "NO"
[coordinates]
crs = "EPSG:4326"
on_violation = "quarantine"
[values.location_type]
"Husholdning" = "Residential"
[keep]
status = ["Aktiv"]
"""

RARE = """
name = "rare"
country = "DE"
[export]
of = "resources"
[file]
header_line = 2
footer_lines = 1
quote = "'"
newline = "\\r\\n"
nulls = ["", "NULL"]
header = "folded"
member = "kunden.csv"
[identity]
location_from = ["user", "Adresse"]
unicode = "refuse"
[columns]
user = "Kunde"
meter_point = "MaLo"
metering_location = "MeLo"
parent_meter_point = "Haupt"
protected = "Sperre"
resource = "Gerät"
resource_type = "Art"
latitude = "Nord"
longitude = "Ost"
[meter_point]
scheme = "DE-MeLo"
carrier = "electricity"
normalise = ["excel-text", "apostrophe", "blanks", "zero-width", "ai-8018", "gb-s-number"]
[coordinates]
crs = "EPSG:25832"
axes = ["northing", "easting"]
within = ["DE", "AT"]
[values.resource_type]
"*" = "Generic"
[protect]
values = ["Ja"]
action = "skip"
[conflicts]
meter_point = "keep-first"
location = "keep-first"
[guards]
quarantined = 1
grew = inf
"""


def refusal(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        Profile.from_toml(text, "mine.toml")
    return str(caught.value)


def test_the_profile_of_the_design_is_read_as_written():
    profile = Profile.from_toml(DESIGN, "nordkraft.toml")
    assert profile.file.separator == ";"
    assert profile.columns.meter_point == "MålepunktID"
    assert profile.values.location_type == {"Husholdning": "Residential"}
    assert profile.keep == {"status": ("Aktiv",)}


def test_every_rare_key_is_accepted():
    profile = Profile.from_toml(RARE, "rare.toml")
    assert profile.file.nulls == ("", "NULL")
    assert profile.coordinates.axes == ("northing", "easting")
    assert profile.headers()["key:Adresse"] == "Adresse"
    assert profile.guards.grew == float("inf")


def test_limits_have_the_defaults_of_the_table():
    guards = Profile.from_toml(LEAST + USER, "x").guards
    shares = (guards.quarantined, guards.check_digit, guards.rejected, guards.shrank, guards.deletes)
    assert shares == (0.02, 0.01, 0.01, 0.10, 0.01)
    assert (guards.grew, guards.creates, guards.outside_km, guards.outside_country) == (1.0, 3.0, 30.0, 0.05)
    assert (guards.minimum_rows, guards.rejected_alike, guards.deletes_always) == (300, 25, 20)


@pytest.mark.parametrize(
    ("country", "scheme"), [("NO", "NO"), ("DE", "DE-MaLo"), ("GB", "GB"), ("PT", "PT"), ("PL", None)]
)
def test_the_scheme_follows_from_the_country(country, scheme):
    text = f'name = "x"\ncountry = "{country}"\n' + USER
    assert Profile.from_toml(text, "x").meter_point.scheme == scheme


def test_a_country_without_a_scheme_needs_one_named():
    text = 'name = "x"\ncountry = "PL"\n' + USER + 'meter_point = "PPE"\n'
    assert "[meter_point] scheme is missing" in refusal(text)


def test_svalbard_is_part_of_where_norwegian_customers_may_lie():
    assert Profile.from_toml(LEAST + USER, "x").coordinates.within == ("NO", "SJ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            LEAST + '[file]\nseperator = ";"\n' + USER,
            "[file] seperator: unknown key; did you mean separator?",
        ),
        (LEAST + "[guard]\ndeletes = 1\n" + USER, "guard: unknown key; did you mean guards?"),
        (LEAST + 'encoding = "utf-8"\n' + USER, "encoding: unknown key; it belongs under [file]"),
        (LEAST + USER + 'meterpoint = "M"\n', "did you mean meter_point?"),
        (LEAST, "columns: is missing"),
        (LEAST + '[columns]\nlocation = "A"\n', "[columns] user: is missing"),
        (USER, "name: is missing"),
        (LEAST.replace("NO", "no") + USER, "ISO 3166"),
        (LEAST.replace('"x"', '"../x"') + USER, "name: must be 1 to 64 letters"),
        (LEAST + '[file]\nencoding = "klingon"\n' + USER, "[file] encoding: is not an encoding we read"),
        (LEAST + '[file]\nseparator = ";;"\n' + USER, "[file] separator: must be one plain character"),
        (LEAST + '[file]\nheader_line = "1"\n' + USER, "[file] header_line: must be a whole number"),
        (LEAST + "[file]\nheader_line = 0\n" + USER, "greater than or equal to 1"),
        (LEAST + '[file]\nnulls = "x"\n' + USER, "[file] nulls: must be a list"),
        (LEAST + '[file]\ndecimal = ","\n' + USER, "they must differ"),
        (LEAST + '[file]\nquote = ","\n' + USER, "[file] quote"),
        (LEAST + '[file]\nquote = ""\nmultiline = ["A"]\n' + USER, "multiline needs"),
        (LEAST + '[export]\nkind = "ful"\n' + USER, "did you mean full?"),
        (LEAST + '[export]\nof = "resources"\n' + USER, "needs [columns] resource"),
        (LEAST + USER + 'latitude = "N"\n', "come in pairs"),
        (LEAST + USER + 'latitude = "N"\nlongitude = "N"\n', "the same header"),
        (LEAST + USER + 'resource = "R"\n', "resource and resource_type come in pairs"),
        (LEAST + USER + '[keep]\nstatus = ["A"]\n', "[keep] status is not in [columns]"),
        (LEAST + USER + 'status = "S"\n[keep]\nstatus = []\n', "lists no value"),
        (LEAST + USER + 'status = "S"\n[keep]\nstatus = "A"\n', "[keep] status: must be a list"),
        (LEAST + USER + 'protected = "P"\n', "[protect] values is missing"),
        (LEAST + USER + '[protect]\nvalues = ["Ja"]\n', "needs [columns] protected"),
        (LEAST + USER + '[values.location_type]\nA = "Home"\n', "[values.location_type] A: must be one of"),
        (LEAST + USER + '[values.location_type]\nA = "Other"\n', "needs [columns] location_type"),
        (
            LEAST + USER + 'location = "L"\n[identity]\nlocation_from = ["user"]\n',
            "without a location column",
        ),
        (LEAST + USER + '[identity]\nlocation_from = ["meter_point"]\n', "is not in [columns]"),
        (
            LEAST + USER + '[identity]\nids = "as-is"\nlocation_from = ["user", "A"]\n',
            "out of several columns",
        ),
        (
            LEAST + USER + '[identity]\nids = "as-is"\nlocation_from = ["Adresse"]\n',
            "name its header as [columns] location instead",
        ),
        (
            LEAST
            + USER
            + 'metering_location = "M"\n[identity]\nids = "as-is"\nlocation_from = ["metering_location"]\n',
            "name its header as [columns] location instead",
        ),
        (LEAST + USER + '[meter_point]\nscheme = "DE-Malo"\n', "did you mean DE-MaLo?"),
        (LEAST + USER + '[coordinates]\ncrs = "25833"\n', "must be an EPSG code"),
        (LEAST + USER + '[coordinates]\ncrs = "EPSG:25833"\n', "needs axes"),
        (LEAST + USER + '[coordinates]\naxes = ["northing", "easting"]\n', "is in degrees"),
        (LEAST + USER + '[coordinates]\naxes = ["latitude", "easting"]\n', "axes must be"),
        (LEAST + USER + '[coordinates]\nwithin = ["Norge"]\n', "two capital letters"),
        (
            LEAST + USER + "[guards]\nquarantined = 2\n",
            "[guards] quarantined: must be less than or equal to 1",
        ),
        ("name =", "is not TOML"),
        (LEAST + "file = 3\n" + USER, "file: must be a table"),
    ],
)
def test_a_wrong_profile_names_the_key_and_the_cure(text, told):
    assert told in refusal(text)


EVERY_COLUMN = USER + "".join(
    f'{name} = "{name}"\n' for name in ColumnsSection.model_fields if name not in ("user", "location")
)


@pytest.mark.parametrize(
    "part",
    [
        "parent_meter_point", "latitude", "longitude", "location_type", "resource", "resource_type", "status",
        "protected",
    ],
)  # fmt: skip
def test_what_tells_no_locations_apart_names_none(part):
    text = f'{LEAST}[protect]\nvalues = ["J"]\n[identity]\nlocation_from = ["user", "{part}"]\n{EVERY_COLUMN}'
    told = refusal(text)
    assert (
        f"[identity] location_from names {part}, which tells no locations apart: name user, meter_point"
        in told
    )


@pytest.mark.parametrize("ids", ["hmac", "as-is"])
@pytest.mark.parametrize("part", ["user", "meter_point", "metering_location", "Adresse"])
def test_what_tells_locations_apart_may_name_them(part, ids):
    text = f'{LEAST}[protect]\nvalues = ["J"]\n[identity]\nids = "{ids}"\nlocation_from = ["{part}"]\n{EVERY_COLUMN}'
    if ids == "as-is" and part in ("metering_location", "Adresse"):
        assert "as-is" in refusal(text)
    else:
        assert (part,) == Profile.from_toml(text, "a").identity.location_from


def test_everything_wrong_is_named_at_once():
    told = refusal('name = "x"\ncountry = "no"\n[file]\nseperator = ";"\nheader_line = "1"\n')
    assert told.startswith("mine.toml: 4 keys are wrong")
    assert all(word in told for word in ("seperator", "country", "header_line", "columns"))


def test_the_digest_does_not_depend_on_order_or_on_stated_defaults():
    one = Profile.from_toml(LEAST + USER, "a")
    two = Profile.from_toml('country = "NO"\nname = "x"\n' + USER + '[meter_point]\nscheme = "NO"\n', "b")
    assert one.digest() == two.digest()
    assert len(one.digest()) == 64


@pytest.mark.parametrize(
    "change", ['[export]\nkind = "full"\n', "[guards]\nquarantined = 0.5\n", '[file]\nnulls = ["-"]\n']
)
def test_the_digest_changes_with_what_the_profile_says(change):
    assert (
        Profile.from_toml(LEAST + USER, "a").digest()
        != Profile.from_toml(LEAST + USER + change, "a").digest()
    )


@pytest.mark.parametrize(
    ("alias", "name"),
    [("latin-1", "iso8859-1"), ("windows-1252", "cp1252"), ("UTF8", "utf-8"), ("utf-8-sig", "utf-8")],
)
def test_aliases_of_an_encoding_are_one_encoding(alias, name):
    text = LEAST + f'[file]\nencoding = "{alias}"\n' + USER
    assert Profile.from_toml(text, "x").file.encoding == name


def test_the_lists_others_depend_on_are_complete():
    assert CANONICAL[0] == "user"
    assert len(SCHEMES) == 15
