"""Captions of drawn scenes in Chinese and Arabic."""

CHINESE_COLOURS = {
    **{"brown": "棕色", "black": "黑色", "white": "白色", "orange": "橙色", "grey": "灰色", "red": "红色"},
    **{"yellow": "黄色", "blue": "蓝色", "green": "绿色", "purple": "紫色"},
}
CHINESE_SUBJECTS = {
    **{"dog": "一只{}的狗", "cat": "一只{}的猫", "girl": "一个穿{}裙子的女孩", "boy": "一个穿{}衬衫的男孩"},
    **{"car": "一辆{}的汽车", "boat": "一艘{}帆的船", "bird": "一只{}的鸟", "balloon": "一个{}的热气球"},
}
CHINESE_ACTIONS = {
    **{"run": "跑", "walk": "走", "sit": "坐着", "ball": "玩球", "cat": "追一只猫", "dog": "遛狗", "kite": "放风筝"},
    **{"snowman": "堆雪人", "drive": "行驶", "sail": "航行", "fly": "飞", "float": "飘"},
}
CHINESE_PLACES = {
    **{"meadow": "草地上", "beach": "沙滩上", "snow": "雪地里", "street": "街上", "autumn": "秋天的公园里"},
    **{"night": "夜里", "sea": "海上", "sunset": "夕阳下"},
}
ARABIC_COLOURS = {
    **{"brown": "بني", "black": "أسود", "white": "أبيض", "orange": "برتقالي", "grey": "رمادي", "red": "أحمر"},
    **{"yellow": "أصفر", "blue": "أزرق", "green": "أخضر", "purple": "بنفسجي"},
}
ARABIC_SUBJECTS = {
    **{"dog": "كلب {}", "cat": "قط {}", "girl": "فتاة بفستان {}", "boy": "ولد بقميص {}", "car": "سيارة بلون {}"},
    **{"boat": "قارب بشراع {}", "bird": "طائر {}", "balloon": "منطاد {}"},
}
ARABIC_ACTIONS = {
    **{"run": "يركض", "walk": "يمشي", "sit": "يجلس", "ball": "يلعب بالكرة", "cat": "يطارد قطًا", "dog": "يمشي مع كلب"},
    **{"kite": "يلعب بطائرة ورقية", "snowman": "يبني رجل ثلج", "drive": "يسير", "sail": "يبحر", "fly": "يطير"},
    **{"float": "يحلق"},
}
ARABIC_PLACES = {
    **{"meadow": "في المرج", "beach": "على الشاطئ", "snow": "في الثلج", "street": "في الشارع"},
    **{"autumn": "في حديقة خريفية", "night": "في الليل", "sea": "على البحر", "sunset": "عند الغروب"},
}


def chinese(scene):
    """Two captions, without spaces."""
    subject = CHINESE_SUBJECTS[scene.subject].format(CHINESE_COLOURS[scene.colour])
    action, place = CHINESE_ACTIONS[scene.action], CHINESE_PLACES[scene.place]
    return [f"{subject}在{place}{action}。", f"{place}有{subject}在{action}。"]


def arabic(scene):
    """Two captions, from right to left."""
    subject = ARABIC_SUBJECTS[scene.subject].format(ARABIC_COLOURS[scene.colour])
    action, place = ARABIC_ACTIONS[scene.action], ARABIC_PLACES[scene.place]
    if scene.subject in ("girl", "car"):
        action = "ت" + action[1:]  # of feminine nouns
    return [f"{subject} {action} {place}.", f"{place} {subject} {action}."]
