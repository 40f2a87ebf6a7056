"""The rules the cases speak of, each named once."""

from __future__ import annotations

from typing import Final


class R:
    """Names of rules, by what a case wants to say."""

    form: Final = "meter_point_id_has_the_form_of_its_scheme"
    check_digit: Final = "meter_point_id_has_valid_check_digit"
    prefix: Final = "meter_point_id_has_prefix_of_its_scheme"
    place: Final = "location_has_meter_point_or_coordinates"
    location_type: Final = "location_type_is_known"
    number: Final = "coordinates_are_numbers"
