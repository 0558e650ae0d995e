"""From ``kubectl apply`` to an answered chat."""

import aiohttp

from tests.e2e.support.bed import Bed


async def test_a_chat_is_answered_by_two_stages_on_two_nodes(bed: Bed, pair: str) -> None:
    body = {"model": pair, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
    weights = bed.weights(pair)
    assert weights.startswith("tiny-1@")
    async with aiohttp.ClientSession() as session:
        texts = set()
        for _ in range(4):
            async with session.post(f"{bed.service_url(pair)}/v1/chat/completions", json=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
                assert response.headers["x-llama-group"] in ("0", "1")
                assert response.headers["x-llama-weights"] == weights
                texts.add(answer["choices"][0]["message"]["content"])
        assert len(texts) == 1, f"greedy answers differ: {texts}"
    nodes = {group["name"]: group["nodes"] for group in bed.deployment(pair)["status"]["groups"]}
    assert len(nodes) == 2
    assert all(len(set(of_stages)) == 2 for of_stages in nodes.values()), nodes


def test_printer_columns_say_it_all(bed: Bed, pair: str) -> None:
    header, row = bed.kubectl("get", "llamadeployment", pair).splitlines()
    assert header.split() == ["NAME", "GROUPS", "WEIGHTS", "REASON", "AGE"]
    assert row.split()[:4] == [pair, "2/2", bed.weights(pair), "Serving"]
