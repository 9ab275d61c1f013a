"""Secure aggregation: the server learns the sum of the sites' updates and no single one (docs/secure-aggregation.md).

Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017, Figure 4:

| there | here |
|---|---|
| u, U₁ … U₅ | site, those that answered keys, shares, masked, consent, reveal |
| (c^PK, c^SK), (s^PK, s^SK) | `cipher_key`, `mask_key`: X25519, new for each session |
| d^PK, d^SK | the site's node key (ECDSA P-384) and the signed registry of sites |
| b_u | `seed`: 32 random bytes; its SHA-256 is the advertisement's `commitment` |
| t | `threshold` |
| PRG | ChaCha20 with a key by HKDF-SHA256 (`masking.py`) |
| SS.share, SS.recon | Shamir over GF(2¹²⁸), pycryptodome (`sharing.py`) |
| AE | AES-256-GCM, a key for each direction (`agreement.py`) |
| Z_R, x_u | integers modulo 2³² (or 2¹⁶); fixed point (`fixed_point.py`) |

Deviations: the weight and the label rows that a site moved are one more masked vector, so that a weighted mean comes out of two
sums; the seed is drawn with the keys and committed to, so that a wrong share is noticed; consents cover the transcript of all
advertisements. This package knows bytes and arrays, not Flower and not files.
"""
