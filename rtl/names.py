"""Names of a Graph as Verilog identifiers, each its own.

A name of a tensor or node may hold anything (`x:0`, `a.b`, 入力). It becomes a part of an
identifier, always behind a word of ours (`node_`, `edge_`, `s_axis_`), so that a first digit or a
reserved word does no harm; only the top module's name stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hwsim.graph import Graph

LONGEST = 100
"""Characters of a cleaned name: tools have limits, and nobody reads on."""

# IEEE 1800-2017, annex B; the words of IEEE 1364-2005 are among them.
_WORDS = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic
before begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle
checker class clocking cmos config const constraint context continue cover covergroup coverpoint
cross deassign default defparam design disable dist do edge else end endcase endchecker endclass
endclocking endconfig endfunction endgenerate endgroup endinterface endmodule endpackage
endprimitive endprogram endproperty endspecify endsequence endtable endtask enum event
eventually expect export extends extern final first_match for force foreach forever fork
forkjoin function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins
implements implies import incdir include initial inout input inside instance int integer
interconnect interface intersect join join_any join_none large let liblist library local
localparam logic longint macromodule matches medium modport module nand negedge nettype new
nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter
pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime
ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always
s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled
signed small soft solve specify specparam static string strong strong0 strong1 struct super
supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout time
timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union
unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait
wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""
RESERVED = frozenset(_WORDS.split())


def identifier(name: str) -> str:
    """A name cleaned: ASCII letters, digits and single underscores, neither first nor last.

    It is not empty, and may be what another name becomes: see `identifiers`.
    """
    return re.sub(r"[\W_]+", "_", name, flags=re.ASCII).strip("_")[:LONGEST].strip("_") or "n"


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Each name's own identifier; of those that clash, later ones get a number.

    The same names in the same order get the same identifiers. A name that is clean keeps itself.
    """
    wanted = {name: identifier(name) for name in names}
    taken = {clean for name, clean in wanted.items() if name == clean}
    found: dict[str, str] = {}
    for name, clean in wanted.items():
        chosen, count = clean, 1
        while name != clean and chosen in taken:
            count += 1
            chosen = f"{clean}_{count}"
        taken.add(chosen)
        found[name] = chosen
    return found


def edge_identifiers(graph: Graph) -> Mapping[str, str]:
    """The identifier of every edge, as signals `edge_<identifier>_data` show it."""
    made = [edge for node in graph.nodes for edge in node.outputs]
    return identifiers([p.tensor for p in graph.inputs] + made)


def top_name(text: str) -> str:
    """The name of a top module that is nearest to a text."""
    clean = identifier(text)
    return f"n_{clean}" if clean[0].isdigit() else f"{clean}_" if clean in RESERVED else clean


def is_top_name(text: str) -> bool:
    """Whether a top module may have this name: an identifier without `$`, no reserved word."""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) is not None and text not in RESERVED
