"""Wormhole B0.

Sources: ISA = tt-isa-documentation WormholeB0; LLK = tt-llk; npe = tt-npe device model; NE = tt-metal noc_estimator
latencies (measured); FF1 = notes of tt-metal #57941, matmul loops with one engine alone (measured); #n = tt-metal issue or pull
request. *Derived*: worked out here from the facts named.
UNVERIFIED: no published number for this chip; what it rests on is said, or it is Blackhole's.
"""

from tensix_sim.arch.blackhole import BLACKHOLE
from tensix_sim.arch.model import L1, ChipSpec, Dram, Ethernet, NocSpec, NumbersSpec, TensixSpec

WORMHOLE_B0 = ChipSpec(
    name="wormhole_b0",
    clock_hz=1_000_000_000,  # ISA README
    worker_columns=(1, 2, 3, 4, 6, 7, 8, 9),  # tt-metal soc_descriptors/wormhole_b0_80_arch.yaml
    worker_rows=(1, 2, 3, 4, 5, 7, 8, 9, 10, 11),  # wormhole_b0_80_arch.yaml
    launch_cycles=2004,  # #20681: DEVICE KERNEL FIRST TO LAST START of a traced op on a Galaxy, 2,004 ns; 648 ns untraced
    l1=L1(
        size=1_499_136,  # ISA L1.md: 1464 KiB
        base=103_712,  # first circular-buffer address in ttnn device reports
        reserved=0,  # nothing but the op: what a model holds there is its own; Llama-Galaxy 786,624 on some cores (#33245)
        circular_buffers=32,  # tt-metal circular_buffer_constants.h
    ),
    noc=NocSpec(
        columns=10,  # ISA NoC/README.md
        rows=12,  # ISA NoC/README.md
        flit_bytes=32,  # ISA NoC/README.md
        max_packet_bytes=8_192,  # ISA NoC/README.md: 256 data flits
        link_rate=32.0,  # ISA NoC/README.md: a flit a cycle
        niu_rate=28.1,  # npe: Tensix inject and absorb
        router_cycles=9,  # ISA RoutingPaths.md
        round_trip_base=70,  # npe: read from the own tile
        software_cycles=0,  # derived: 70 + 9 * 22, issue and 2 flits already make 297; NE measures 293 for a 64 B L1 read
        read_issue_cycles=26,  # NE: 256 reads of 64 B from L1, 26.1 each (stateful API 18.5)
        page_cycles=26,  # fitted to a product with 224 pages of 576 B a block (oob-wh-24), which is bound by nothing else
        write_issue_cycles=23,  # NE: 256 writes of 64 B to L1, 23.1 each (stateful API 21.1)
        column_read_share=0.8,  # derived: NE has 66 GB/s of all cores' DRAM reads on NoC 1, where full links give 82
        column_write_share=0.63,  # derived: NE has 51 GB/s of all cores' DRAM writes on NoC 0, where full links give 81
        multicast_cycles=177,  # NE: the first multicast of 64 B to 5x5 cores takes 470, a write 293
        write_ack_base=0,  # derived: 70 + 9 * 22, issue and 2 flits already make 294; NE measures 293 for a 64 B L1 write
        buffer_bytes=2_048,  # ISA NoC/README.md: input buffer of a router port
        semaphore_cycles=40,  # UNVERIFIED, derived: issue 23 + L1 atomic 5 + a poll (L1 load 8, branch)
    ),
    dram=Dram(
        banks=12,  # ISA DRAMTile/README.md: 6 controllers x 2 channels
        # preferred worker endpoints of tt-metal's wormhole_b0_80_arch.yaml
        endpoints=((0, 11), (0, 1), (0, 5), (0, 7), (5, 1), (5, 11), (5, 2), (5, 9), (5, 8), (5, 3), (5, 5), (5, 7)),
        bank_rate=22.2,  # ISA DRAMTile/README.md: one channel, measured 22.2 to 22.3 of 24 GB/s
        request_cycles=6.8,  # #55898
        open_rows=16,  # JEDEC JESD250, GDDR6: 16 banks a channel, one open row each
        row_miss_cycles=6.0,  # UNVERIFIED: Blackhole's 6 ns
        read_cycles=99,  # mesham/tt-sim, derived there from silicon; NE: DRAM reads 110 over L1 reads
        write_cycles=115,  # DM: interleaved writes of 64 B to DRAM 404 to 426, to L1 293
        page_alignment=32,  # ISA NoC: DRAM reads
        bank_bytes=1_073_741_824,  # ISA DRAMTile/README.md: 1 GiB, nothing taken off for reserved space
    ),
    ethernet=Ethernet(
        endpoints=tuple((x, y) for y in (0, 6) for x in (1, 2, 3, 4, 6, 7, 8, 9)),  # wormhole_b0_80_arch.yaml: 16 tiles
        rate=12.5,  # tt-metal CCL_bandwidth.md: 100 Gb/s
        efficiency=0.96,  # CCL_bandwidth.md: payload ceiling 12.0 GB/s
        duplex_rate=20.8,  # CCL results T3000 (ccl-010): both directions of a ring of 8; lines, mostly one way, reach 11.8
        packet_bytes=4_352,  # tech_reports/TT-Fabric: default payload, four bfloat8_b tiles
        max_packet_bytes=7_616,  # tech_reports/TT-Fabric
        router_slots=8,  # UNVERIFIED
        connect_cycles=2_235,  # half of the 4.47 us of all sizes in the law of the CCL results T3000 (ccl-009, ccl-010)
        mux_cycles=1_215,  # UNVERIFIED: the same code on the same RISCs, as many cycles as on Blackhole
        hop_cycles=711,  # CCL_bandwidth.md: 711 ns on 1-D fabric (2-D: 874); #20903 has 780 to 800 on a ring
    ),
    tensix=TensixSpec(
        unpack_rate_one=64.0,  # ISA UNPACR_Regular.md: throttle x4; Float32 has all of it, UNVERIFIED: nobody measured one
        unpack_rate_both=32.0,  # ISA UNPACR_Regular.md: x4 with x4 gives x2 each
        unpack_share=0.667,  # FF1: 185 to 193 cycles for four bfloat16 tiles of 32, nothing else at work
        unpack_tile_overhead=12,  # derived from LLK llk_unpack_AB_matmul.h: 10 to 12 for the 5 instructions of a tile
        source_handshake_cycles=12,  # derived: T0's instructions of a tile, as unpack_tile_overhead; FF1's loops say 8 to 16
        mvmul_cycles=16,  # ISA MatrixUnit.md: 16 MVMULs of one cycle
        matmul_issue_cycles=BLACKHOLE.tensix.matmul_issue_cycles,  # UNVERIFIED
        eltwise_cycles=8,  # ISA MatrixUnit.md: 8 instructions of 8x16
        eltwise_overhead=4,  # derived from LLK: one counter instruction per face
        copy_cycles=12,  # derived: 8 MOVA2D (ISA) and a counter instruction per face
        copy_fp32_cycles=BLACKHOLE.tensix.copy_fp32_cycles,  # UNVERIFIED
        max_pool_fpu_cycles=4,  # ISA MatrixUnit.md: 4 GMPOOL of 16x16
        max_pool_cycles=25,  # UNVERIFIED, derived: 4 GMPOOLs that wait 5 cycles for each other, 5 counter instructions
        max_row_cycles=13,  # derived from LLK llk_math_reduce_custom.h: 13 instructions, no stalls counted
        max_row_fpu_cycles=10,  # derived from LLK: without the counters; FPU counters of p100a-06, 39 and 56 agree
        max_row_fp32_cycles=25,  # derived from LLK, as without: 25 instructions with a 32-bit DST
        max_row_fp32_fpu_cycles=22,  # derived from LLK: without the counters
        exp_approx_cycles=70.7,  # tt-llk PR #1190, measured
        exp_column_cycles=BLACKHOLE.tensix.exp_column_cycles,  # UNVERIFIED
        exp_column_exact_cycles=BLACKHOLE.tensix.exp_column_exact_cycles,  # UNVERIFIED
        exp_column_fp32_cycles=BLACKHOLE.tensix.exp_column_fp32_cycles,  # UNVERIFIED
        exp_init_cycles=BLACKHOLE.tensix.exp_init_cycles,  # UNVERIFIED
        reciprocal_column_cycles=125,  # UNVERIFIED, derived from LLK ckernel_sfpu_recip.h: 8 vectors of 12 to 16 slots
        sfpu_start_cycles=10,  # UNVERIFIED: STALLWAIT, drain of the 5-deep FPU, base and counters
        pack_rate=64.0,  # ISA Packers/README.md: 4 packers of 16 B/c
        pack_min_cycles=16,  # derived from tt-llk #916: a packer takes 16 rows of a face, one a cycle at best
        pack_call_cycles=BLACKHOLE.tensix.pack_call_cycles,  # UNVERIFIED
        pack_hold_share=0.143,  # FF1: accumulating packs, 512 and 256 cycles a subblock, cost 66 to 84 and 28
        l1_accumulate_factor=2.0,  # ISA L1.md: 16 B in 2 cycles, not atomic
        accumulate_switch_cycles=10,  # UNVERIFIED, derived: twice a STALLWAIT for the packer and a configuration write
        reconfigure_cycles=BLACKHOLE.tensix.reconfigure_cycles,  # UNVERIFIED
        math_init_cycles=25,  # UNVERIFIED, derived: 16 MVMULs into the replay buffer, address modifiers
        dst_handshake_cycles=30,  # UNVERIFIED, derived: drain of the unit, STALLWAIT, semaphore post and wait, new DST base
        eltwise_halves=BLACKHOLE.tensix.eltwise_halves,  # UNVERIFIED
        cb_wait_cycles=40,  # UNVERIFIED, derived: half a poll, L1 load 8, a branch, then the first tile's addresses
        cb_update_cycles=30,  # UNVERIFIED, derived: L1 load 8, add, L1 store 5, pointer and its wrap
        cb_visible_cycles=BLACKHOLE.tensix.cb_visible_cycles,  # UNVERIFIED
    ),
    numbers=NumbersSpec(
        ieee_vector_unit=False,  # ttsim fma.cpp
        fp32_dest_fault=True,  # ttsim tensix.cpp; the fault of HiFi4 with a 32-bit DST that tt-metal warns of (#38306)
        reciprocal_seeds=(),  # ttsim tensix.cpp: SFPARECIP is Blackhole's
    ),
)
