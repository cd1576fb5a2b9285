// What the threads of a launch do to memory, watched as compute-sanitizer watches it on a device: races, accesses
// outside of what the launch was given, and reads of what nobody has written.
//
// Only a barrier puts the accesses of two threads of a block in order, as in CUDA no shuffle orders memory, and nothing
// those of two blocks. So two accesses, one of them a write, race unless they are of one thread, or of one block with a
// barrier between. In which order they happen to come here does not count.

#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "cuda_shim.h"

namespace cuda {

constexpr int NOBODY = -1, SEVERAL = -2;

class Memory {
    struct Access {
        int thread = NOBODY;
        int64_t time = 0;
    };

    // Four bytes, of which no kernel here reads or writes a part.
    struct Word {
        Access write, read;
    };
    static constexpr size_t WORD = 4;

    struct Region {
        Extent extent;
        std::vector<Word> words;
    };

    std::map<const char*, Region> regions;  // by where they begin
    const char* shared_memory = nullptr;    // of the block at hand
    int64_t time = 0, start_of_block = 0;   // in barriers

    void add(Extent extent) { regions[extent.begin] = {extent, std::vector<Word>((extent.bytes + WORD - 1) / WORD)}; }

    Region* region_of(const char* address, size_t bytes) {
        auto next = regions.upper_bound(address);
        if (next == regions.begin()) return nullptr;
        Region& region = std::prev(next)->second;
        return address + bytes <= region.extent.begin + region.extent.bytes ? &region : nullptr;
    }

    std::string name_of(const Extent& extent) const {
        if (extent.begin == shared_memory) return "shared memory";
        return "an array of " + std::to_string(extent.bytes) + " bytes";
    }

    bool is_concurrent(Access access, int thread) const {
        const bool is_of_other_block = access.time < start_of_block;
        return access.thread != NOBODY && (is_of_other_block || (access.time == time && access.thread != thread));
    }

    void note_read(Word& word, int thread) {
        if (!is_concurrent(word.read, thread)) {
            word.read = {thread, time};
        } else if (word.read.time == time) {
            word.read.thread = SEVERAL;
        }
        // A read of another block stays: nobody may write there in this launch.
    }

    static std::string others(Access access, const char* does) {
        const bool several = access.thread == SEVERAL;
        const std::string who = several ? "several threads" : "thread " + std::to_string(access.thread);
        return ", where " + who + " " + does + " with no barrier between";
    }

    std::string fault_at(Region& region, size_t byte, bool writes, int thread) {
        Word& word = region.words[byte / WORD];
        if (is_concurrent(word.write, thread)) return others(word.write, "writes");
        if (writes && is_concurrent(word.read, thread)) return others(word.read, "reads");
        if (!writes && word.write.thread == NOBODY && !region.extent.is_written) return ", where nobody has written";
        if (writes) {
            word.write = {thread, time};
        } else {
            note_read(word, thread);
        }
        return "";
    }

public:
    void start_launch(const Extent* given, int count) {
        regions.clear();
        time = 0;
        for (int number = 0; number < count; ++number) add(given[number]);
    }

    void start_block(const void* shared, size_t bytes) {
        shared_memory = static_cast<const char*>(shared);
        add({shared_memory, bytes, false});
        start_of_block = ++time;
    }

    void pass_barrier() { ++time; }

    // Where a faulty access goes and what is wrong with it, or nothing.
    std::string fault_of(const void* place, size_t bytes, bool writes, int thread) {
        const char* address = static_cast<const char*>(place);
        Region* region = region_of(address, bytes);
        if (region == nullptr) return "memory that the launch was not given";
        const size_t first = address - region->extent.begin;
        for (size_t byte = first; byte < first + bytes; byte += WORD) {
            const std::string fault = fault_at(*region, byte, writes, thread);
            if (!fault.empty()) return "byte " + std::to_string(byte) + " of " + name_of(region->extent) + fault;
        }
        return "";
    }
};

}  // namespace cuda
