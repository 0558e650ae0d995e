"""Texts whose mean log-probability tells good weights from damaged ones: one in each language of Llama 3.1.

Written for this purpose. They say everyday things in plain words, so that a healthy model finds them likely; what they
say does not matter. They are long enough for one odd token to weigh little (about 100 tokens or more), and short enough
for the device: an engine holds log-probabilities of the whole vocabulary for each token of a text (300 tokens of 128K
words take 150 MB).

Changing one makes figures from before incomparable. A measurement names its texts by a hash, and other ones are never
compared with it.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class QualityText:
    """A text and the language that it is in."""

    language: str
    text: str


BUILT_IN: Final[tuple[QualityText, ...]] = (
    QualityText(
        "English",
        "The baker opens her shop at six in the morning, and the smell of fresh bread fills the whole street. The first"
        " customers are the drivers of the early buses, who buy a roll and a cup of coffee before their shift begins."
        " Later the children come by on their way to school and look at the cakes in the window. On Saturdays the queue"
        " is so long that it reaches the door of the pharmacy. Nobody minds waiting, because there is always someone to"
        " talk to. When the last loaf is sold, she sweeps the floor, turns off the lights and goes home for a nap.",
    ),
    QualityText(
        "German",
        "Im Winter wird es früh dunkel, deshalb gehen die Kinder nach der Schule gleich nach Hause. Dort gibt es warme"
        " Suppe, und danach sitzen alle am großen Tisch und machen ihre Aufgaben. Wenn es geschneit hat, holt der Vater"
        " den Schlitten aus dem Keller, und sie gehen noch eine Stunde auf den Hügel hinter der Kirche. Mit roten"
        " Wangen und nassen Handschuhen kommen sie zurück. Die Mutter hängt die Jacken über die Heizung und liest ihnen"
        " vor dem Schlafen eine Geschichte vor.",
    ),
    QualityText(
        "French",
        "Le train pour Lyon part à huit heures, mais il arrive souvent avec quelques minutes de retard. Les voyageurs"
        " attendent sur le quai, un journal à la main, et regardent le grand tableau. Une vieille dame cherche sa place"
        " et un jeune homme l'aide à porter sa valise. Pendant le voyage, on voit par la fenêtre des champs, des"
        " rivières et de petits villages. Au wagon-restaurant, on peut boire un café et manger un sandwich. Quand le"
        " train entre en gare, tout le monde se lève en même temps et se dirige vers la sortie.",
    ),
    QualityText(
        "Italian",
        "Ogni domenica mia nonna prepara la pasta e tutta la famiglia mangia insieme in giardino. I bambini"
        " apparecchiano la tavola sotto il grande albero, mentre mio zio taglia il pane e apre una bottiglia di vino."
        " Si parla di lavoro, di scuola e delle vacanze, e spesso tutti parlano nello stesso momento. Dopo il caffè"
        " qualcuno si addormenta sulla sedia e gli altri giocano a carte. La sera, quando il sole scende dietro le"
        " colline, ci salutiamo e promettiamo di tornare la settimana prossima.",
    ),
    QualityText(
        "Portuguese",
        "O rio passa pelo meio da cidade, e no verão as pessoas tomam banho perto da ponte velha. De manhã cedo os"
        " pescadores já estão sentados nas pedras com as suas canas e esperam em silêncio. Ao meio-dia faz muito calor,"
        " e quase todos procuram a sombra das árvores. As crianças compram gelados numa pequena loja e correm de novo"
        " para a água. Ao fim da tarde há música na praça, os vizinhos trazem cadeiras para a rua e conversam até ser"
        " noite.",
    ),
    QualityText(
        "Hindi",
        "सुबह की चाय के साथ लोग अखबार पढ़ते हैं और मौसम के बारे में बात करते हैं। बच्चे अपना बस्ता लेकर स्कूल जाते हैं और"
        " रास्ते में अपने दोस्तों से मिलते हैं। दोपहर में बाज़ार में बहुत भीड़ होती है, इसलिए माँ सब्ज़ी लेने शाम को जाती हैं।"
        " रात को पूरा परिवार एक साथ खाना खाता है और दिन भर की बातें करता है।",
    ),
    QualityText(
        "Spanish",
        "Cuando llueve mucho, los campesinos se alegran porque el agua hace crecer el maíz. En el pueblo las calles se"
        " llenan de charcos y los niños saltan en ellos con sus botas de goma. La abuela cierra las ventanas, enciende"
        " la cocina y prepara chocolate caliente para todos. Después de la tormenta el aire huele a tierra mojada y las"
        " montañas se ven más cerca. Los hombres salen a mirar los campos y calculan cuánto tiempo falta para la"
        " cosecha. Si todo va bien, este año podrán arreglar el tejado de la escuela.",
    ),
    QualityText(
        "Thai",
        "ตอนเย็นเด็กๆ เล่นฟุตบอลในสวน แล้วกลับบ้านไปกินข้าวกับพ่อแม่ แม่ทำแกงไก่กับผัดผัก ส่วนพ่อช่วยล้างจาน"
        " หลังจากนั้นทุกคนนั่งดูโทรทัศน์ด้วยกันและคุยกันเรื่องที่โรงเรียน วันเสาร์พวกเขาไปตลาดเพื่อซื้อผลไม้และปลา"
        " ถ้าอากาศดีก็จะไปเที่ยวทะเลกับเพื่อนบ้าน",
    ),
)
