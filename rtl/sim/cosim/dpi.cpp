// Words of every stream port, handed to the simulated design from buffers that Python owns.
//
// The `hwsim_bind_*` half is called by Python through ctypes before a run, the rest by the
// SystemVerilog in streams.sv.  A word is a row of 32-bit integers, lowest first.

#include <cstdint>
#include <cstring>
#include <vector>

#include "svdpi.h"

namespace {

constexpr int VALID = 1, LAST = 2, COMPLETE = 4, RESTART = 8, ENDED = 16;

struct Source {
    const uint32_t* words;
    uint64_t* stamps;
    uint64_t word_size, tensor_beats, beats;
    uint64_t offered, accepted, first_accepted;
};

struct Sink {
    uint32_t* words;
    uint8_t* last;
    uint64_t* stamps;
    uint64_t word_size, expected, capacity;
    uint64_t first, taken, taken_first;  // `first`: where this attempt begins in the buffers
};

struct Violation {
    uint64_t port, kind, cycle, attempt;
};

constexpr size_t MOST_VIOLATIONS = 1000;

std::vector<Source> sources;
std::vector<Sink> sinks;
std::vector<Violation> violations;
uint64_t outstanding = 0;
uint64_t reset_after = 0;
uint64_t accepted_total = 0;
uint64_t attempt = 0;
uint64_t reset_cycle = 0;

int complete() { return outstanding == 0 ? COMPLETE : 0; }

}  // namespace

extern "C" {

void hwsim_bind_source(const uint32_t* words, uint64_t* stamps, uint64_t word_size,
                       uint64_t tensor_beats, uint64_t beats) {
    sources.push_back({words, stamps, word_size, tensor_beats, beats, 0, 0, 0});
}

void hwsim_bind_sink(uint32_t* words, uint8_t* last, uint64_t* stamps, uint64_t word_size,
                     uint64_t expected, uint64_t capacity) {
    sinks.push_back({words, last, stamps, word_size, expected, capacity, 0, 0, 0});
}

void hwsim_reset_after(uint64_t beats) { reset_after = beats; }

uint64_t hwsim_accepted(uint64_t port, int of_attempt) {
    return of_attempt == 0 && attempt > 1 ? sources[port].first_accepted : sources[port].accepted;
}

uint64_t hwsim_taken(uint64_t port, int of_attempt) {
    return of_attempt == 0 && attempt > 1 ? sinks[port].taken_first : sinks[port].taken;
}

uint64_t hwsim_reset_cycle() { return reset_cycle; }

uint64_t hwsim_attempts() { return attempt; }

uint64_t hwsim_violations(uint64_t* rows, uint64_t most) {
    const uint64_t count = violations.size() < most ? violations.size() : most;
    std::memcpy(rows, violations.data(), count * sizeof(Violation));
    return count;
}

// Called on the last cycle of every reset: each stream starts from its first word.
// Says whether no further reset will come.
int hwsim_begin() {
    ++attempt;
    outstanding = 0;
    accepted_total = 0;
    for (Source& source : sources) {
        if (attempt == 2) source.first_accepted = source.accepted;
        source.offered = source.accepted = 0;
        outstanding += source.beats;
    }
    for (Sink& sink : sinks) {
        if (attempt == 2) {
            sink.taken_first = sink.taken;
            sink.first = sink.taken < sink.capacity ? sink.taken : sink.capacity;
        }
        sink.taken = 0;
        outstanding += sink.expected;
    }
    return reset_after == 0 || attempt == 2;
}

int hwsim_source(int port, int moved, int want, int64_t cycle, svBitVecVal* word) {
    Source& source = sources[port];
    int reply = 0;
    if (moved) {
        source.stamps[source.accepted++] = cycle;
        --outstanding;
        if (++accepted_total == reset_after && attempt == 1) {
            reset_cycle = cycle;
            reply |= RESTART;
        }
    }
    if (source.offered == source.beats) return reply | ENDED | complete();
    if (!want) return reply;
    std::memcpy(word, source.words + source.offered * source.word_size, 4 * source.word_size);
    ++source.offered;
    return reply | VALID | (source.offered % source.tensor_beats == 0 ? LAST : 0);
}

int hwsim_sink(int port, const svBitVecVal* word, int last, int64_t cycle) {
    Sink& sink = sinks[port];
    const uint64_t row = sink.first + sink.taken;
    if (row < sink.capacity) {
        std::memcpy(sink.words + row * sink.word_size, word, 4 * sink.word_size);
        sink.last[row] = last;
        sink.stamps[row] = cycle;
    }
    if (sink.taken++ < sink.expected) --outstanding;
    return complete();
}

void hwsim_violation(int port, int kind, int64_t cycle) {
    if (violations.size() < MOST_VIOLATIONS)
        violations.push_back({uint64_t(port), uint64_t(kind), uint64_t(cycle), attempt});
}

}  // extern "C"
