"""The tables of docs/scaling.md, from the costs of one operation (docs/benchmarks.md).

    python3 tests/bench/scaling.py
"""

# Seconds of CPU.
DELIVERY = 6.5e-6  # TLS, one message a write.
PUBLISH = (0.75e-6, 10e-6)  # At its own node: in a stream, alone.
TO_PEER = (0.7e-6, 18e-6)
FROM_PEER = (1.0e-6, 70e-6)  # Without the delivery.
ACCEPT = 300e-6  # TLS handshake and token.
INTEREST_CHANGE = 0.8e-6
LINK = 36e-6  # A second, idle.
# Bytes.
CONNECTION = 10_000  # TLS; half of it in the kernel.
TOPIC_HERE, TOPIC_ELSEWHERE = 243, 44
LINK_MEMORY = 50_000
FRAME, BETWEEN_NODES = 300, 320

ROOM = 20
SECONDS_BETWEEN_MESSAGES = 60
CASES = [(millions * 1_000_000, nodes) for millions in (1, 10) for nodes in (3, 30, 300)]


def chat(connections, nodes):
    """A node's load: everybody is in one room of ROOM people, all over the cluster, and writes once a minute."""
    here = connections / nodes
    published = connections / SECONDS_BETWEEN_MESSAGES / nodes
    peers = nodes * (1 - (1 - 1 / nodes) ** ROOM) - 1
    delivered, replicated = published * ROOM, published * peers
    cpu = [
        delivered * DELIVERY + published * PUBLISH[i] + replicated * (TO_PEER[i] + FROM_PEER[i]) for i in (0, 1)
    ]
    return [
        f"{connections // 1_000_000} M", nodes, f"{here:,.0f}", f"{delivered:,.0f}", f"{replicated:,.0f}",
        f"{cpu[0]:.2f}–{cpu[1]:.2f}", f"{here * CONNECTION / 1e9:.2f} GB",
        f"{(2 * here * TOPIC_HERE + connections * TOPIC_ELSEWHERE) / 1e6:,.0f} MB",
        f"{delivered * FRAME * 8 / 1e6:,.0f}", f"{replicated * BETWEEN_NODES * 8 / 1e6:,.1f}",
    ]


def mesh(nodes):
    """What grows with the number of nodes alone."""
    peers = nodes - 1
    return [
        nodes, nodes * peers // 2, f"{peers * LINK * 1e3:.1f} ms/s", f"{peers * LINK_MEMORY / 1e6:.1f} MB",
        f"{1000 * peers * TO_PEER[0]:.3f}", f"{1000 * peers * BETWEEN_NODES * 8 / 1e6:,.0f} Mbit/s",
    ]


def wave(connections, nodes):
    """Everybody connects again within a minute."""
    rate = connections / 60
    return [
        f"{connections // 1_000_000} M", nodes, f"{rate / nodes:,.0f}", f"{rate / nodes * ACCEPT:.2f}",
        f"{rate:,.0f}", f"{rate * INTEREST_CHANGE:.2f}",
    ]


def table(columns, rows):
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


table(
    ["connections", "nodes", "of each node", "deliveries/s", "to peers/s", "cores", "connections' memory",
     "topics' memory", "to clients, Mbit/s", "to peers, Mbit/s"],
    [chat(*case) for case in CASES],
)
table(
    ["nodes", "links", "CPU of idle links", "memory of links", "cores for 1,000 msg/s to all", "bandwidth for them"],
    [mesh(nodes) for nodes in (3, 30, 300)],
)
table(
    ["connections", "nodes", "accepted/s", "cores", "interest changes/s", "cores"],
    [wave(*case) for case in CASES],
)
