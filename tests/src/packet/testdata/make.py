"""Makes the *.hex files with scapy, an implementation independent of ours: `pip install scapy && python make.py`."""
from scapy.all import ICMP, IP, IPOption, TCP, UDP, Dot1Q, Ether, Raw, raw

ETHER = dict(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
OUT = dict(src="192.0.2.100", dst="192.0.2.10", id=0x1234, flags="DF", ttl=64)
BACK = dict(OUT, src=OUT["dst"], dst=OUT["src"])
UDP_HELLO = UDP(sport=40000, dport=53) / Raw(b"hello")

FRAMES = {
    "tcp": Ether(**ETHER) / IP(**OUT)
    / TCP(sport=40000, dport=8443, flags="S", seq=0x01020304, ack=0, window=0xFFFF, options=[("MSS", 1460)])
    / Raw(b"hello"),
    "udp": Ether(**ETHER) / Dot1Q(vlan=100)
    / IP(**OUT, options=[IPOption(bytes([7, 7, 4, 0, 0, 0, 0]))]) / UDP_HELLO,
    "icmp": Ether(**ETHER) / IP(**BACK) / ICMP(type=3, code=4, nexthopmtu=1400) / IP(**OUT) / UDP_HELLO,
}

for name, frame in FRAMES.items():
    digits = raw(frame).hex(" ")
    with open(f"{name}.hex", "w", encoding="ascii") as file:
        file.writelines(digits[start : start + 48].rstrip() + "\n" for start in range(0, len(digits), 48))
