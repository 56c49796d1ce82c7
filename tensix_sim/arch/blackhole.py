"""Blackhole.

Sources: ISA = tt-isa-documentation BlackholeA0; LLK = tt-llk; npe = tt-npe device model; NE = tt-metal noc_estimator
latencies, DM = tt-metal data_movement tests (both measured); #n = tt-metal issue or pull request. *Derived*: worked out
here from the facts named. UNVERIFIED: no published number; what it rests on is said.
"""

from tensix_sim.arch.model import L1, ChipSpec, Dram, Ethernet, NocSpec, NumbersSpec, TensixSpec

COLUMNS = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16)  # tt-metal soc_descriptors/blackhole_140_arch.yaml

SEEDS = (  # SFPARECIP: ttsim tensix.cpp
    127, 125, 123, 121, 119, 117, 116, 114, 112, 110, 109, 107, 105, 104, 102, 100, 99, 97, 96, 94, 93, 91,
    90, 88, 87, 85, 84, 83, 81, 80, 79, 77, 76, 75, 74, 72, 71, 70, 69, 68, 66, 65, 64, 63,
    62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
    40, 40, 39, 38, 37, 36, 35, 35, 34, 33, 32, 31, 31, 30, 29, 28, 28, 27, 26, 25, 25, 24,
    23, 23, 22, 21, 21, 20, 19, 19, 18, 17, 17, 16, 15, 15, 14, 14, 13, 12, 12, 11, 11, 10,
    9, 9, 8, 8, 7, 7, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0,
)  # fmt: skip

BLACKHOLE = ChipSpec(
    name="blackhole",
    clock_hz=1_350_000_000,  # tt-metal perf tests; under load
    worker_columns=COLUMNS,
    worker_rows=(2, 3, 4, 5, 6, 7, 8, 9, 10, 11),  # blackhole_140_arch.yaml
    launch_cycles=675,  # walls of a p100a (#55766): 630 to 720 from the first start of a kernel to the last
    l1=L1(
        size=1_572_864,  # tt-metal dev_mem_map.h: 1536 KiB; old soc descriptors still say 1464 KiB
        base=102_784,  # derived from dev_mem_map.h and the 69 KiB kernel-config ring
        reserved=0,  # nothing but the op: what a model holds there is its own; Llama-Galaxy 786,624 on some cores (#33245)
        circular_buffers=64,  # tt-metal circular_buffer_constants.h of 2026; 32 before
    ),
    noc=NocSpec(
        columns=17,  # ISA NoC/README.md
        rows=12,  # ISA NoC/README.md
        flit_bytes=64,  # ISA NoC/README.md
        max_packet_bytes=16_384,  # ISA NoC/README.md: 256 data flits
        link_rate=64.0,  # ISA NoC/README.md: a flit a cycle
        niu_rate=60.9,  # npe; NE measures 60.4 to 61.6 for one stream
        router_cycles=9,  # ISA RoutingPaths.md; npe fits 11 to 11.5 for writes
        round_trip_base=65,  # npe: read from the own tile
        software_cycles=25,  # fitted: 1 KiB DRAM read 540 (NE, DM); a 64 B L1 read (NE 373) then takes 391
        read_issue_cycles=38,  # polaris READ_LATENCY_MODEL.md, fitted; NE 36.3, DM 36.6 a read
        page_cycles=12,  # UNVERIFIED: what `read_issue_cycles`, fitted to an op that looks pages up, leaves of Wormhole's 52
        write_issue_cycles=25,  # NE: 256 writes of 64 B, 24.3 each to L1, 25.4 to DRAM (DM)
        column_read_share=0.85,  # derived: NE has 245 GB/s of all cores' DRAM reads on NoC 1, where full links give 287
        column_write_share=0.67,  # derived: NE has 178 GB/s of all cores' DRAM writes on NoC 0, where full links give 264
        multicast_cycles=150,  # NE: the first multicast of 64 B to 5x5 cores takes 508, a write 358
        write_ack_base=5,  # derived: what 65 + 9 * 29, issue and 2 flits leave of 358, NE's 64 B L1 write
        buffer_bytes=4_096,  # derived: Wormhole's 2 KiB of input buffer a router port (ISA NoC/README.md), flits twice as wide
        semaphore_cycles=40,  # UNVERIFIED, derived: issue 25 + L1 atomic 5 + a poll (L1 load 8, branch)
    ),
    dram=Dram(
        banks=8,  # tt-metal Saturating_DRAM_bandwidth_Blackhole.md
        # preferred worker endpoints of tt-metal's blackhole_140_arch.yaml
        endpoints=((0, 11), (0, 3), (0, 8), (0, 6), (9, 11), (9, 3), (9, 8), (9, 6)),
        # Peak is 64 GB/s = 47.4; 8 readers beside their banks sustain 46.3 each with 16 KB reads
        # (Saturating_DRAM_bandwidth_Blackhole.md), one NE reader 46. What small pages lose is in `request_cycles`.
        bank_rate=46.0,
        request_cycles=16.4,  # #55898
        open_rows=16,  # JEDEC JESD250, GDDR6: 16 banks a channel, one open row each
        row_miss_cycles=8.0,  # fitted: p100a-06, -22, -28, -29, -59, which move together, 2.8 % a cycle
        read_cycles=126,  # mesham/tt-sim, derived there from silicon; NE: DRAM reads 110 over L1 reads
        write_cycles=15,  # DM: interleaved writes of 64 B to DRAM 379 to 392, to L1 358
        page_alignment=64,  # ISA NoC: DRAM reads
        bank_bytes=4_278_190_080,  # blackhole_140_arch.yaml: 4 GiB less what is reserved
    ),
    ethernet=Ethernet(
        endpoints=tuple((x, 1) for x in COLUMNS),  # blackhole_140_arch.yaml: 14 tiles
        rate=18.5,  # tt-metal CCL_bandwidth.md: links run at 25 GB/s, half of the rated 50 (37.0)
        efficiency=0.96,  # CCL_bandwidth.md: payload ceiling 48 of 50 GB/s
        duplex_rate=35.5,  # twice the payload of one direction: CCL_bandwidth.md has rings at up to 95 % of line rate
        packet_bytes=4_352,  # tech_reports/TT-Fabric: default payload
        max_packet_bytes=15_232,  # tech_reports/TT-Fabric
        router_slots=8,  # UNVERIFIED: as on Wormhole
        connect_cycles=3_017,  # UNVERIFIED: as on Wormhole
        mux_cycles=1_215,  # #55543: a mux adds about 0.9 us to a step of a reduce-scatter
        hop_cycles=695,  # CCL_bandwidth.md: 515 ns on 1-D fabric (2-D: 619)
    ),
    tensix=TensixSpec(
        unpack_rate_one=128.0,  # ISA: throttle x8; UNVERIFIED for each format
        unpack_rate_both=64.0,  # UNVERIFIED: halved like Wormhole's
        unpack_share=1.0,  # UNVERIFIED: as above
        unpack_tile_overhead=12,  # derived from LLK llk_unpack_AB_matmul.h: 10 to 12 for the 5 instructions of a tile
        source_handshake_cycles=0,  # UNVERIFIED: nobody took the engines apart here; compute-bound walls leave it no room
        mvmul_cycles=16,  # ISA MatrixUnit.md: 16 MVMULs of one cycle
        matmul_issue_cycles=3,  # derived from the LLK instruction count: 280 issue slots for 8 HiFi2 products of 32
        eltwise_cycles=8,  # ISA MatrixUnit.md: 8 instructions of 8x16
        eltwise_overhead=4,  # derived from LLK: one counter instruction per face
        copy_cycles=12,  # derived: 8 MOVA2D (ISA) and a counter instruction per face
        copy_fp32_cycles=190,  # fitted to products that reload partial sums tile by tile: bh2d-24, 26 and 28
        max_pool_fpu_cycles=4,  # ISA MatrixUnit.md: 4 GMPOOL of 16x16
        max_pool_cycles=25,  # UNVERIFIED, derived: 4 GMPOOLs that wait 5 cycles for each other, 5 counter instructions
        max_row_cycles=13,  # derived from LLK llk_math_reduce_custom.h: 13 instructions, no stalls counted
        max_row_fpu_cycles=10,  # derived from LLK: without the counters; FPU counters of p100a-06, 39 and 56 agree
        max_row_fp32_cycles=25,  # derived from LLK, as without: 25 instructions with a 32-bit DST
        max_row_fp32_fpu_cycles=22,  # derived from LLK: without the counters
        exp_approx_cycles=70.0,  # #55760, SFPU counter in the kernel; tt-llk PR #1190 measures 68.6 alone
        exp_column_cycles=216,  # fitted to the SFPU counters of p100a-10, 13, 15 and 17: 70 a tile, 216 a column, 44 a step
        exp_column_exact_cycles=160,  # fitted to the SFPU counter of p100a-50: 212 a step of 4 columns less than p100a-06
        exp_column_fp32_cycles=284,  # derived from #55759: (SFPU 442,996 - 68 * 64 exp * 70 - 64 reciprocals * 28) / 480 columns
        exp_init_cycles=22,  # fitted with exp_column_cycles: half of 44 a step; #55760 has 48
        reciprocal_column_cycles=28,  # fitted to the SFPU counters of p100a-06 and 13; LLK ckernel_sfpu_recip.h has 24 to 48
        sfpu_start_cycles=10,  # UNVERIFIED: STALLWAIT, drain of the 5-deep FPU, base and counters
        pack_rate=128.0,  # derived from tt-llk #916: 4 interfaces of 32 B/c; bf16 measured 16.0 (#51901)
        pack_min_cycles=16,  # #51901: 16.0 cycles a tile, 16 PACRs of 4 rows
        pack_call_cycles=9.13,  # #51901
        pack_hold_share=0.0,  # UNVERIFIED: as source_handshake_cycles
        l1_accumulate_factor=1.5,  # #51901: 24.0 of 16.0 cycles
        accumulate_switch_cycles=10,  # UNVERIFIED, derived: twice a STALLWAIT for the packer and a configuration write
        reconfigure_cycles=70,  # derived from #56692: 139,214 cycles over 12 sites and about 165 steps
        math_init_cycles=25,  # UNVERIFIED, derived: 16 MVMULs into the replay buffer, address modifiers
        dst_handshake_cycles=30,  # UNVERIFIED, derived: drain of the unit, STALLWAIT, semaphore post and wait, new DST base
        eltwise_halves=1,  # fitted to p100a-80 and #55759: with 2 their steps come out 16 and 23 % too short, with 1 within 1 %
        cb_wait_cycles=40,  # UNVERIFIED, derived: half a poll, L1 load 8, a branch, then the first tile's addresses
        cb_update_cycles=30,  # UNVERIFIED, derived: L1 load 8, add, L1 store 5, pointer and its wrap
        cb_visible_cycles=105,  # fitted to p100a-01 and pr56898-1024-64: packer drains, ThCon's update of L1, a poll
    ),
    numbers=NumbersSpec(
        ieee_vector_unit=True,  # ttsim fma.cpp
        fp32_dest_fault=False,  # ttsim tensix.cpp
        reciprocal_seeds=SEEDS,
    ),
)
