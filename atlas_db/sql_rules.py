"""Which SQL strangers may ask: one SELECT, over the atlas's tables, with functions of a list.

The rules read the tree that DuckDB's own parser makes of the text (`json_serialize_sql`). What they
do not know they refuse, so a later DuckDB that learns something new is not open by surprise.
They are the first of the walls; `atlas_db.sql_child` puts the process itself behind the others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

#: Of a statement's text, in UTF-8.
MAX_STATEMENT_BYTES = 10_000

_EXPRESSIONS = """
BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF
OPERATOR PARAMETER POSITIONAL_REFERENCE STAR SUBQUERY WINDOW
"""
_QUERIES = "SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE"
_SOURCES = "BASE_TABLE TABLE_FUNCTION SUBQUERY JOIN EMPTY EXPRESSION_LIST PIVOT CTE"
_MODIFIERS = """
ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER
ORDER_DEFAULT ASCENDING DESCENDING
"""
_CLASSES = frozenset(_EXPRESSIONS.split())
_NODES = frozenset(f"{_QUERIES} {_SOURCES} {_MODIFIERS}".split())
#: Of CTEs. One of another form could be looked for as a file.
_PLAIN_NAME = re.compile(r"[^\W\d]\w{0,62}")
#: Beginnings of DuckDB's own tables: a CTE so named would hide which of the two is meant.
_SYSTEM_NAMES = ("duckdb_", "pragma_", "sqlite_", "pg_", "information_schema")

TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest"})
_SIGNS = """
+ - * / // % ** ^ || && & | ~ << >> @ ^@ @> <@ <-> <=> <#> -> ->> ! !__postfix
~~ !~~ ~~* !~~* ~~~ !~~~ ~* !~ !~*
"""
_OPERATORS = frozenset(_SIGNS.split())
_NUMBERS = """
abs acos add asin atan atan2 bit_count cbrt ceil ceiling cos cot degrees divide even exp fdiv floor
fmod gcd greatest isfinite isinf isnan lcm least ln log log10 log2 mod multiply nextafter pi pow
power radians round round_even sign signbit sin sqrt subtract tan trunc xor
"""
_TEXTS = """
ascii base64 bar bit_length char_length character_length chr concat concat_ws contains
damerau_levenshtein decode editdist3 encode ends_with format format_bytes from_base64 from_hex
hamming hash hex ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase left len
length length_grapheme levenshtein like_escape lower lpad ltrim md5 mismatches nfc_normalize
not_ilike_escape not_like_escape octet_length ord position prefix printf regexp_escape
regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
regexp_split_to_array repeat replace reverse right rpad rtrim sha256 split split_part starts_with
str_split str_split_regex string_split string_split_regex string_to_array strip_accents strlen
strpos substr substring substring_grapheme suffix to_base to_base64 to_hex translate trim ucase
unhex unicode upper url_decode url_encode
"""
_LISTS = """
array_aggregate array_append array_apply array_cat array_concat array_contains
array_cosine_similarity array_distance array_distinct array_extract array_filter array_has
array_has_all array_has_any array_indexof array_inner_product array_intersect array_length
array_position array_prepend array_reduce array_resize array_reverse array_reverse_sort array_slice
array_sort array_to_string array_transform array_unique array_value array_where array_zip
cardinality element_at flatten generate_series generate_subscripts list_aggr list_aggregate
list_any_value list_append list_apply list_avg list_bit_and list_bit_or list_bit_xor list_bool_and
list_bool_or list_cat list_concat list_contains list_cosine_distance list_cosine_similarity
list_count list_distance list_distinct list_dot_product list_element list_entropy list_extract
list_filter list_first list_grade_up list_has list_has_all list_has_any list_histogram
list_indexof list_inner_product list_intersect list_kurtosis list_last list_mad list_max list_median
list_min list_mode list_pack list_position list_prepend list_product list_reduce list_resize
list_reverse list_reverse_sort list_select list_sem list_skewness list_slice list_sort
list_stddev_pop list_stddev_samp list_string_agg list_sum list_transform list_unique list_value
list_var_pop list_var_samp list_where list_zip map map_concat map_contains map_entries map_extract
map_extract_value map_from_entries map_keys map_values range row struct_concat struct_extract
struct_extract_at struct_insert struct_keys struct_pack struct_update struct_values unnest
"""
_JSON = """
array_to_json from_json json json_array json_array_length json_contains json_exists json_extract
json_extract_path json_extract_path_text json_extract_string json_group_array json_group_object
json_keys json_merge_patch json_object json_pretty json_quote json_structure json_transform
json_type json_valid json_value row_to_json to_json
"""
_AGGREGATES = """
any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min
arg_min_null argmax argmin array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if
count_star countif covar_pop covar_samp entropy favg first fsum geomean geometric_mean group_concat
grouping grouping_id histogram histogram_exact kahan_sum kurtosis kurtosis_pop last list listagg mad
max max_by mean median min min_by mode product quantile quantile_cont quantile_disc regr_avgx
regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
reservoir_quantile sem skewness stddev stddev_pop stddev_samp string_agg sum sumkahan var_pop
var_samp variance wavg weighted_avg cume_dist dense_rank fill first_value lag last_value lead
nth_value ntile percent_rank rank rank_dense row_number
"""
_OTHERS = """
alias coalesce constant_or_null date_diff date_part date_trunc to_days to_hours
to_milliseconds to_minutes to_months to_seconds to_weeks to_years equi_width_bins error
ifnull nullif epoch is_histogram_other_bin month strftime strptime try_strptime typeof year
"""
#: Every function that a statement may name; operators and casts are always there.
FUNCTIONS = frozenset(
    " ".join((_NUMBERS, _TEXTS, _LISTS, _JSON, _AGGREGATES, _OTHERS)).split()
)  # fmt: skip


class SqlRefusedError(ValueError):
    """A statement breaks a rule.

    Attributes:
        hint: What to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def check_text(statement: str) -> None:
    """Refuse text that is too long, or that is none.

    Raises:
        SqlRefusedError: It is empty, or of more than `MAX_STATEMENT_BYTES`.
    """
    n_bytes = len(statement.encode("utf-8", "surrogatepass"))
    if n_bytes > MAX_STATEMENT_BYTES:
        raise SqlRefusedError(
            f"The statement is of {n_bytes} bytes; {MAX_STATEMENT_BYTES} at most are taken.",
            "Shorten it, or download the atlas and ask your own DuckDB.",
        )
    if not statement.strip(" \t\r\n;"):
        raise SqlRefusedError("The statement is empty.", "Try: SELECT * FROM units LIMIT 10")
    if "\0" in statement or any("\ud800" <= letter <= "\udfff" for letter in statement):
        raise SqlRefusedError("The statement holds a letter that is none.", "Send plain UTF-8.")


def check_tree(tree: Mapping[str, Any], tables: Collection[str]) -> None:
    """Refuse a statement that is not one SELECT over `tables`.

    Args:
        tree: Of `json_serialize_sql`.
        tables: Names of the atlas's tables and views.

    Raises:
        SqlRefusedError: Says which rule it breaks.
    """
    if tree.get("error"):
        raise _unserialised(tree)
    if len(tree["statements"]) != 1:
        raise SqlRefusedError(
            f"There are {len(tree['statements'])} statements; exactly one SELECT is taken.",
            "Send them one by one.",
        )
    nodes = list(_nodes(tree["statements"]))
    ctes = {name.casefold() for node in nodes for name in _cte_names(node)}
    known = {name.casefold() for name in tables}
    for name in ctes - known:
        if not _PLAIN_NAME.fullmatch(name) or name.startswith(_SYSTEM_NAMES):
            raise SqlRefusedError(f"A CTE cannot be called {name[:80]!r} here.", "Rename it.")
    for node in nodes:
        _check_node(node, known, ctes)


def _unserialised(tree: Mapping[str, Any]) -> SqlRefusedError:
    message = str(tree.get("error_message", "it is not understood"))
    if tree.get("error_type") == "parser":
        return SqlRefusedError(f"The statement is not SQL: {message}", "Is a quote or comma off?")
    return SqlRefusedError(
        "Only a SELECT is taken (or WITH ... SELECT, FROM ..., VALUES ...).",
        "For tables and columns see /api/v1/sql/schema.",
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Give every object of the tree but what is within constants; without recursion."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            yield node
            if node.get("class") != "CONSTANT":
                waiting.extend(node.values())


def _cte_names(node: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(node.get("cte_map"), dict):
        for entry in node["cte_map"].get("map", ()):
            yield str(entry["key"])
    for key in ("cte_name", "ctename"):
        if node.get(key):
            yield str(node[key])


def _check_node(node: Mapping[str, Any], tables: set[str], ctes: set[str]) -> None:
    group, kind = node.get("class"), node.get("type")
    if group is not None:
        if group not in _CLASSES:
            raise _not_here(str(group))
    elif isinstance(kind, str) and not kind.endswith("_TYPE_INFO") and kind not in _NODES:
        raise _not_here(kind)
    if "function_name" in node:
        _check_function(node)
    if kind == "TABLE_FUNCTION" and group is None:
        name = str(node["function"].get("function_name", "")).casefold()
        if name not in TABLE_FUNCTIONS:
            raise _no_function(name, TABLE_FUNCTIONS)
    if kind == "BASE_TABLE" and group is None:
        _check_table(node, tables, ctes)


def _not_here(kind: str) -> SqlRefusedError:
    what = "SHOW, DESCRIBE and SUMMARIZE" if kind == "SHOW_REF" else kind.lower().replace("_", " ")
    return SqlRefusedError(
        f"{what} cannot be used here.", "For tables and columns see /api/v1/sql/schema."
    )


def _check_function(node: Mapping[str, Any]) -> None:
    name = str(node["function_name"]).casefold()
    if node.get("catalog") not in (None, "", "system") or node.get("schema") not in (
        None,
        "",
        "main",
    ):
        raise SqlRefusedError(f"{name[:80]}: write a function's name alone.", "Leave out the dots.")
    if name not in FUNCTIONS and name not in _OPERATORS:
        raise _no_function(name, FUNCTIONS)


def _no_function(name: str, known: frozenset[str]) -> SqlRefusedError:
    near = get_close_matches(name[:60], known, n=3)
    hint = f"Near it: {', '.join(near)}. " if near else ""
    return SqlRefusedError(
        f"The function {name[:80]} cannot be used here.",
        f"{hint}All that can are listed at /api/v1/sql/schema.",
    )


def _check_table(node: Mapping[str, Any], tables: set[str], ctes: set[str]) -> None:
    if node.get("at_clause"):
        raise _not_here("AT")
    name = str(node["table_name"]).casefold()
    schema, catalog = node.get("schema_name") or "", node.get("catalog_name") or ""
    if not schema and not catalog and name in ctes | tables:
        return
    # `atlas.units` reaches us as a schema's table; the rest is DuckDB's own.
    if (catalog, schema) in (("", "main"), ("", "atlas"), ("atlas", "main")) and name in tables:
        return
    near = get_close_matches(name[:60], sorted(tables), n=3)
    hint = f"Near it: {', '.join(near)}. " if near else ""
    raise SqlRefusedError(
        f"There is no table {name[:80]!r} in the atlas.",
        f"{hint}All are listed at /api/v1/sql/schema.",
    )
