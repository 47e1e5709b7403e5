// Answers timing requests with llama.cpp: one line in, one line out.
//
//   quantize FROM TO        -> ok            (to Q8_0)
//   load MODEL THREADS FLASH -> ok
//   prefill N               -> wall cpu      seconds for a prompt of N tokens
//   decode DEPTH N          -> wall cpu      seconds for N single tokens behind DEPTH others
//   batch RUNS N            -> wall cpu      seconds for N tokens of each of RUNS runs together
//
// Times are of the whole process. Tokens are fixed: speed does not depend on them.
#include "llama.h"

#include <ctime>
#include <iostream>
#include <string>
#include <vector>

static double clock_of(clockid_t id) {
    timespec t;
    clock_gettime(id, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static llama_model *model = nullptr;
static llama_context *context = nullptr;

// Decodes `count` tokens of run `run` from `position` on in batches of at most 256.
static void prompt(int count) {
    std::vector<llama_token> ids;
    for (int at = 0; at < count; at++) ids.push_back(1000 + at * 37 % 20000);
    for (int at = 0; at < count; at += 256) {
        llama_decode(context, llama_batch_get_one(ids.data() + at, std::min(256, count - at)));
    }
    llama_synchronize(context);
}

// The best next token, as a greedy caller would look for it.
static llama_token best(int row) {
    const float *logits = llama_get_logits_ith(context, row);
    const int size = llama_vocab_n_tokens(llama_model_get_vocab(model));
    int best = 0;
    for (int id = 1; id < size; id++) {
        if (logits[id] > logits[best]) best = id;
    }
    return best;
}

int main() {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    std::string request;
    while (std::cin >> request) {
        if (request == "quantize") {
            std::string from, to;
            std::cin >> from >> to;
            auto params = llama_model_quantize_default_params();
            params.ftype = LLAMA_FTYPE_MOSTLY_Q8_0;
            params.allow_requantize = true;
            const bool failed = llama_model_quantize(from.c_str(), to.c_str(), &params) != 0;
            std::cout << (failed ? "failed" : "ok") << std::endl;
        } else if (request == "load") {
            std::string path;
            int threads, flash;
            std::cin >> path >> threads >> flash;
            if (context) llama_free(context);
            if (!model) model = llama_model_load_from_file(path.c_str(), llama_model_default_params());
            auto params = llama_context_default_params();
            params.n_ctx = 4096;
            params.n_batch = params.n_ubatch = 256;
            params.n_seq_max = 8;
            params.kv_unified = true;
            params.n_threads = params.n_threads_batch = threads;
            params.flash_attn_type =
                flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
            context = model ? llama_init_from_model(model, params) : nullptr;
            std::cout << (context ? "ok" : "failed") << std::endl;
        } else if (context) {
            int first, second = 0;
            std::cin >> first;
            if (request != "prefill") std::cin >> second;
            llama_memory_clear(llama_get_memory(context), true);
            if (request == "decode") prompt(first);
            std::vector<llama_token> next(8, 1000);
            llama_batch batch = llama_batch_init(8, 0, 1);
            const double wall = clock_of(CLOCK_MONOTONIC), cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
            if (request == "prefill") {
                prompt(first);
                best(-1);
            } else {
                const int runs = request == "batch" ? first : 1;
                const int depth = request == "batch" ? 0 : first;
                for (int step = 0; step < second; step++) {
                    batch.n_tokens = runs;
                    for (int run = 0; run < runs; run++) {
                        batch.token[run] = next[run];
                        batch.pos[run] = depth + step;
                        batch.n_seq_id[run] = 1;
                        batch.seq_id[run][0] = run;
                        batch.logits[run] = 1;
                    }
                    llama_decode(context, batch);
                    for (int run = 0; run < runs; run++) next[run] = best(run);
                }
            }
            const double w = clock_of(CLOCK_MONOTONIC) - wall;
            std::cout << w << " " << clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu << std::endl;
            llama_batch_free(batch);
        } else {
            std::cout << "failed" << std::endl;
        }
    }
}
