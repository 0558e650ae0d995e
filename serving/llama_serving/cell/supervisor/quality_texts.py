"""Short texts whose mean log-probability tells good weights from damaged ones: one in each language of Llama 3.1.

Written for this purpose. They say everyday things in plain words, so that a healthy model finds them likely; what they
say does not matter. Changing one makes figures from before incomparable.
"""

from typing import Final

BUILT_IN: Final[tuple[str, ...]] = (
    "The baker opens her shop at six in the morning, and the smell of fresh bread fills the whole street.",
    "Im Winter wird es früh dunkel, deshalb gehen die Kinder nach der Schule gleich nach Hause.",
    "Le train pour Lyon part à huit heures, mais il arrive souvent avec quelques minutes de retard.",
    "Ogni domenica mia nonna prepara la pasta e tutta la famiglia mangia insieme in giardino.",
    "O rio passa pelo meio da cidade, e no verão as pessoas tomam banho perto da ponte velha.",
    "Cuando llueve mucho, los campesinos se alegran porque el agua hace crecer el maíz.",
    "सुबह की चाय के साथ लोग अखबार पढ़ते हैं और मौसम के बारे में बात करते हैं।",
    "ตอนเย็นเด็กๆ เล่นฟุตบอลในสวน แล้วกลับบ้านไปกินข้าวกับพ่อแม่",
)
