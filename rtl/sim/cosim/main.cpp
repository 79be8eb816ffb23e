// Main loop of the simulation: toggles the clock here and looks at VPI (cocotb) only when
// something is due there, which is what makes it nearly as fast as a plain C++ harness.
//
// cocotb's runner always adds a main of its own; the build renames that one (-Dmain=...).
// Limit: VPI sees changes of `done` and expired timers, not each edge of the clock.

#undef main

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

extern "C" void vlog_startup_routines_bootstrap(void);

namespace {

constexpr uint64_t HALF_PERIOD = 5;
constexpr uint64_t MOST_CYCLES_UNSERVED = 1 << 20;

uint64_t plus_number(const char* name, uint64_t otherwise) {
    const std::string match = Verilated::commandArgsPlusMatch(name);
    const size_t at = match.find('=');
    return at == std::string::npos ? otherwise
                                   : std::strtoull(match.c_str() + at + 1, nullptr, 10);
}

void settle_value_callbacks() {
    while (VerilatedVpi::callValueCbs()) {
    }
}

// What every cocotb main does at one point of time: evaluate and call back until nothing changes.
void serve(Vtop& top) {
    do {
        do {
            top.eval();
            VerilatedVpi::clearEvalNeeded();
            VerilatedVpi::doInertialPuts();
            settle_value_callbacks();
        } while (VerilatedVpi::evalNeeded());
        VerilatedVpi::callCbs(cbReadWriteSynch);
        VerilatedVpi::doInertialPuts();
        settle_value_callbacks();
    } while (VerilatedVpi::evalNeeded());
    VerilatedVpi::callCbs(cbReadOnlySynch);
}

}  // namespace

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    VerilatedContext* const context = Verilated::threadContextp();
    Verilated::fatalOnVpiError(false);
#if VM_TRACE
    Verilated::traceEverOn(true);
#endif
    auto top = std::make_unique<Vtop>("");
    top->clk = 0;
    top->go = 0;  // inputs start at random too
#if VM_TRACE
    // Only cycles of the last attempt are dumped: before a reset in mid-stream nothing is.
    VerilatedVcdC trace;
    top->trace(&trace, 99);
    trace.open("dump.vcd");
    const uint64_t trace_from = plus_number("hwsim_from=", 0);
    const uint64_t trace_to = plus_number("hwsim_to=", ~0ULL);
#define DUMP()                                                                              \
    if (top->last_attempt && !top->rst && top->cycle >= trace_from && top->cycle <= trace_to) \
    trace.dump(context->time())
#else
#define DUMP()
#endif
    vlog_startup_routines_bootstrap();
    VerilatedVpi::callCbs(cbStartOfSimulation);
    settle_value_callbacks();
    context->timeInc(1);
    serve(*top);

    while (!context->gotFinish()) {
        const bool done_was = top->done;
        const uint64_t deadline = VerilatedVpi::cbNextDeadline();
        uint64_t left = MOST_CYCLES_UNSERVED;
        if (VerilatedVpi::hasCbs(cbNextSimTime)) left = 1;
        do {
            context->timeInc(HALF_PERIOD);
            top->clk = 1;
            top->eval();
            DUMP();
            context->timeInc(HALF_PERIOD);
            top->clk = 0;
            top->eval();
            DUMP();
        } while (--left && bool(top->done) == done_was && context->time() < deadline &&
                 !context->gotFinish());
        VerilatedVpi::callCbs(cbNextSimTime);
        settle_value_callbacks();
        VerilatedVpi::callTimedCbs();
        settle_value_callbacks();
        serve(*top);
    }
#if VM_TRACE
    trace.close();
#endif
    top->final();
    VerilatedVpi::callCbs(cbEndOfSimulation);
    return context->errorCount() > 0 ? 1 : 0;
}
